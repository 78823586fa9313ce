"""How an answer that a page shows is compared with the one that came."""

from __future__ import annotations

import pytest

from tests.integration.system.docs.snippets import calls, difference, same_text, shown_json

ID, OTHER_ID = "01a2189d-2aae-759f-8ebd-5ac6064e6141", "01a218a0-0983-724f-90d9-b4fd8f12b9d0"


@pytest.mark.parametrize(
    ("shown", "answered"),
    [
        ('{"a": 1, "b": [true, null]}', {"a": 1, "b": [True, None]}),
        ('{"a": 1, ...}', {"a": 1, "b": 2}),
        ("{...}", {"a": 1}),
        ('{"a": ...}', {"a": {"b": 1}}),
        ('{"a": [{"b": 1, ...}, ...]}', {"a": [{"b": 1, "c": 2}, 3]}),
        (f'{{"id": "{ID}"}}', {"id": OTHER_ID}),
        ('{"text": "and so on ..."}', {"text": "and so on ..."}),
    ],
)
def test_what_is_shown_is_what_came(shown: str, answered: object) -> None:
    assert difference(shown_json(shown), answered) is None


@pytest.mark.parametrize(
    ("shown", "answered", "at"),
    [
        ('{"a": 1}', {"a": 2}, "/a"),
        ('{"a": 1}', {"a": 1, "b": 2}, "not shown"),
        ('{"a": 1, "b": 2, ...}', {"a": 1}, "not answered"),
        ('{"a": [1, ...]}', {"a": []}, "/a"),
        ('{"a": [1]}', {"a": [1, 2]}, "/a"),
        ('{"a": true}', {"a": "true"}, "/a"),
        (f'{{"id": "{ID}"}}', {"id": "unknown"}, "/id"),
    ],
)
def test_what_differs_is_named(shown: str, answered: object, at: str) -> None:
    assert at in (difference(shown_json(shown), answered) or "")


def test_text_may_differ_in_moments_alone() -> None:
    assert same_text("since 2026-11-26 at 16:31:46", "since\n2027-01-02 at 07:00:00\n")
    assert same_text("depuis le 26 novembre 2026", "depuis le 1er août 2027")
    assert not same_text("since 2026-11-26", "until 2026-11-26")


def test_commands_end_with_their_quotes_and_backslashes() -> None:
    console = "$ first \\\n    -d '{\n  \"a\": 1}'\nshown\nmore\n$ second   # a comment's quote\n"
    assert [(each.command, each.output) for each in calls(console)] == [
        ("first \\\n    -d '{\n  \"a\": 1}'", "shown\nmore"),
        ("second   # a comment's quote", ""),
    ]
