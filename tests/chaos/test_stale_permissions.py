"""The check finds a stale permission that is there, and none where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from consent_contracts import AddressEntry, Decision, verdicts
from local_stack.audit.compare import AuditedDestination
from tests.chaos.stale_permissions import acknowledged, judge

TOOL = AuditedDestination(
    destination="tool", channel="sms", account="tool", targets={"newsletter": ("list-1",)}, push_permissions=True
)
KEY = "h1.key"
DECIDED, ACKNOWLEDGED = 200, 300
PERMITTED, SUPPRESSED = "permitted", "suppressed"


def decision(decision_id: str, status: str, at: int) -> Decision:
    return Decision(
        decision_id=decision_id,
        subject_ref="s1",
        purpose="newsletter",
        status=status,
        effective_at=at,
        recorded_at=at,
    )


def receipt(**fields: Any) -> dict[str, Any]:
    return {
        "destination": "tool",
        "address_key": KEY,
        "action": "suppress",
        "stage": "accepted",
        "decision_ids": ["no"],
        "reached_at": ACKNOWLEDGED,
        **fields,
    }


def judged(
    changes: list[tuple[int, str]],
    *,
    newest: Decision = decision("no", "withdrawn", DECIDED),  # noqa: B008 - frozen
    receipts: list[dict[str, Any]] | None = None,
) -> list[list[str]]:
    decisions = (newest,)
    entry = AddressEntry(tenant="acme", channel="sms", address_key=KEY, sealed_address=b"", decisions=decisions)
    since = acknowledged([receipt()] if receipts is None else receipts)
    return judge(TOOL, verdicts(decisions), entry, {"list-1": {"changes": changes}}, since, now=1_000)


def test_a_permission_after_the_acknowledged_refusal_is_found_although_the_next_refusal_hides_it() -> None:
    [[wrong]] = judged([(100, PERMITTED), (290, SUPPRESSED), (400, PERMITTED), (450, SUPPRESSED)])
    assert "permitted at list-1" in wrong


def test_the_first_acknowledgement_counts() -> None:
    repeated = [receipt(reached_at=500), receipt(), receipt(stage="effective", reached_at=600)]
    assert len(judged([(290, SUPPRESSED), (400, PERMITTED)], receipts=repeated)[0]) == 1


@pytest.mark.parametrize(
    "changes",
    [
        [(290, SUPPRESSED)],
        [(100, PERMITTED), (290, SUPPRESSED)],
        [(100, PERMITTED), (250, SUPPRESSED), (270, PERMITTED)],
    ],
)
def test_a_permission_before_the_refusal_was_acknowledged_is_none(changes: list[tuple[int, str]]) -> None:
    assert judged(changes) == [[]]


@pytest.mark.parametrize(
    "receipts",
    [
        [],
        [receipt(stage="failed")],
        [receipt(action="permit")],
        [receipt(destination="other")],
        [receipt(decision_ids=["an older one"])],
    ],
)
def test_without_an_acknowledgement_of_the_newest_no_nothing_can_be_judged(receipts: list[dict[str, Any]]) -> None:
    assert judged([(290, SUPPRESSED), (400, PERMITTED)], receipts=receipts) == []


def test_a_newest_permission_is_not_stale() -> None:
    assert judged([(290, SUPPRESSED), (400, PERMITTED)], newest=decision("yes", "given", 390)) == []
