"""What a forged record may not do to an operator's terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_service.terminal import shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain é 日本 👍 \\", "plain é 日本 👍 \\"),
        ("a\x1b[2Jb", "a\\u001b[2Jb"),
        ("two\nlines\tand\rmore", "two\\nlines\\tand\\rmore"),
        ("\x7f\x9b31m", "\\u007f\\u009b31m"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("\u2066x\u2069\u200b\u00ad\ufeff", "\\u2066x\\u2069\\u200b\\u00ad\\ufeff"),
        ("\u3164\ufe0f\u2028\u00a0", "\\u3164\\ufe0f\\u2028\\u00a0"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\udb40\\udc41"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, seen: str) -> None:
    assert shown(text) == seen


@given(st.text(st.characters()))
def test_nothing_that_controls_or_hides_is_left_and_json_keeps_its_meaning(text: str) -> None:
    line = shown(text)
    assert not {unicodedata.category(each) for each in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert json.loads(shown(json.dumps(text, ensure_ascii=False))) == text
