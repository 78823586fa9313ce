"""What is given again when a reply was no withdrawal."""

from __future__ import annotations

import pytest

from consent_api.ledger.reviews import to_restore
from consent_contracts.decisions import Decision

SECOND = 1_000_000
NOW = 100 * SECOND


def decision(
    id_: str, status: str, at: int, *, subject: str | None = "s1", purpose: str = "news", **more: int
) -> Decision:
    return Decision(
        decision_id=id_,
        subject_ref=subject,
        purpose=purpose,
        status=status,
        effective_at=at * SECOND,
        recorded_at=at * SECOND,
        expires_at=more.get("expires_at", 1_000) * SECOND,
        bulk=False,
    )


PAUSE = decision("pause", "withdrawn", 50, subject=None, purpose="*")
GIVEN = decision("given", "given", 10)


@pytest.mark.parametrize(
    ("there", "restored"),
    [
        ([GIVEN], ["given"]),
        ([], []),
        ([decision("given", "given", 10, expires_at=99)], []),
        ([decision("given", "given", 60)], []),  # chosen since: it holds by itself
        ([GIVEN, decision("again", "given", 20)], ["again"]),
        ([GIVEN, decision("survey", "given", 11, purpose="survey")], ["given", "survey"]),
        ([GIVEN, decision("no", "refused", 20)], []),
        ([GIVEN, decision("no", "refused", 20, purpose="*")], []),
        ([GIVEN, decision("no", "objected", 20, subject=None)], []),
        ([GIVEN, decision("stop", "withdrawn", 70, subject=None, purpose="*")], []),
        ([GIVEN, decision("other", "refused", 20, subject="s2")], ["given"]),  # whose refusal goes on to count
        ([GIVEN, decision("other", "given", 20, subject="s2")], ["given", "other"]),
        ([decision("before", "refused", 5), GIVEN], ["given"]),
        ([GIVEN, decision("taken", "withdrawn", 40, subject=None, purpose="*")], ["given"]),
    ],
)
def test_only_what_the_pause_ended_is_given_again(there: list[Decision], restored: list[str]) -> None:
    found = to_restore([*there, PAUSE], {"pause"}, {"taken"}, now=NOW)
    assert [each.decision_id for each in found] == restored


def test_what_the_pause_did_not_reach_is_not_given_again() -> None:
    pause = decision("pause", "withdrawn", 50, subject=None, purpose="news")
    survey = decision("survey", "given", 11, purpose="survey")
    found = to_restore([GIVEN, survey, pause], {"pause"}, set(), now=NOW)
    assert [each.decision_id for each in found] == ["given"]
