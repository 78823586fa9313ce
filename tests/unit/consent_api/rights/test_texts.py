"""Texts beside a request are kept in the clear. # R13"""

from __future__ import annotations

import pytest

from consent_api.errors import SubmissionInvalidError
from consent_api.rights import texts


@pytest.mark.parametrize(
    "text",
    ["seen with ann@example.com", "called +33 6 39 98 00 01", "ann%40example.com", "a\x00b", "x" * 1_001],
)
def test_an_address_or_an_unreadable_text_is_refused(text: str) -> None:
    with pytest.raises(SubmissionInvalidError) as caught:
        texts.plain("/reason", text, region="FR")
    assert [each.pointer for each in caught.value.faults] == ["/reason"]
    assert "ann" not in str(caught.value)


def test_a_blank_text_is_none() -> None:
    assert texts.plain("/reason", "  ", region="FR") is None
    assert texts.plain("/reason", None, region="FR") is None
    with pytest.raises(SubmissionInvalidError):
        texts.required("/reason", " ", region="FR")


def test_a_text_is_kept_without_the_blanks_around_it() -> None:
    assert texts.plain("/identity_note", " passport seen,\nat the counter ", region="FR") == (
        "passport seen,\nat the counter"
    )
