"""How a target's row changes by what becomes of a push."""

from __future__ import annotations

from uuid import UUID

import pytest
from msgspec.structs import replace

from propagator.desired import outcomes
from propagator.desired.model import PERMIT, SUPPRESS, Action, DeliveredTarget, PlannedPush, TargetState
from propagator.desired.receipt import Receipt

NOW = 1_760_000_000_000_000
LATER = NOW + 30_000_000


def push(action: Action = SUPPRESS, *, leaving: bool = False, attempts: int = 0) -> PlannedPush:
    state = TargetState(
        target="n",
        action=action,
        purposes=("newsletter",),
        reason="withdrawn",
        decision_ids=("d1",),
        occurred_at=NOW,
        recorded_at=NOW,
    )
    return PlannedPush(state=state, live=True, since=NOW, leaving=leaving, attempts=attempts)


def accepted(row: DeliveredTarget | None, planned: PlannedPush) -> DeliveredTarget | None:
    return outcomes.accepted(row, planned, version=7, now=NOW, fill_began_at=3, settles_at=LATER, reference="r1")


IN_DOUBT = DeliveredTarget(target="n", action=PERMIT, decision_ids=("d0",), in_doubt=True)


def test_an_accepted_push_is_the_row() -> None:
    row = accepted(None, push())
    assert row == DeliveredTarget(
        target="n",
        action=SUPPRESS,
        decision_ids=("d1",),
        version=7,
        provider_reference="r1",
        delivered_at=NOW,
        fill_began_at=3,
    )


@pytest.mark.parametrize(
    ("row", "repeat_at"),
    [
        (IN_DOUBT, LATER),
        (replace(IN_DOUBT, in_doubt=False, repeat_at=NOW + 1), NOW + 1),
        (replace(IN_DOUBT, action=SUPPRESS, repeat_at=NOW + 1), NOW + 1),
        (replace(IN_DOUBT, action=SUPPRESS, repeat_at=NOW), None),
        (replace(IN_DOUBT, action=SUPPRESS), None),
        (replace(IN_DOUBT, in_doubt=False), None),
    ],
    ids=["permit in doubt", "permit after one in doubt", "waits for repetition", "repeated", "unknown", "permitted"],
)
def test_while_an_earlier_permission_may_take_effect_a_suppression_stays_in_doubt(
    row: DeliveredTarget, repeat_at: int | None
) -> None:
    suppressed, permitted = accepted(row, push()), accepted(row, push(PERMIT))
    refused = outcomes.refused(row, push(PERMIT), code="c", version=7, now=NOW, fill_began_at=3, settles_at=LATER)
    assert suppressed is not None
    assert permitted is not None
    assert refused is not None
    assert (suppressed.in_doubt, suppressed.repeat_at) == (repeat_at is not None, repeat_at)
    assert (permitted.in_doubt, permitted.repeat_at) == (False, repeat_at)
    assert (refused.in_doubt, refused.repeat_at) == (False, repeat_at)


def test_a_target_that_left_the_mapping_is_dropped_once_it_is_surely_suppressed() -> None:
    assert accepted(replace(IN_DOUBT, in_doubt=False), push(leaving=True)) is None
    assert accepted(IN_DOUBT, push(leaving=True)) is not None
    refusal = outcomes.refused(
        IN_DOUBT, push(leaving=True), code="c", version=7, now=NOW, fill_began_at=3, settles_at=LATER
    )
    assert refusal is None


def test_a_failed_attempt_keeps_what_the_target_last_took() -> None:
    row = outcomes.failed(IN_DOUBT, push(attempts=2), reason="http_400", retry_at=LATER)
    assert replace(row, retry=None) == IN_DOUBT
    assert row.retry is not None
    assert (row.retry.attempts, row.retry.reason, row.retry.retry_at) == (3, "http_400", LATER)


def test_a_permission_that_was_not_sent_leaves_the_row_as_it_was() -> None:
    before = DeliveredTarget(target="n", action=SUPPRESS, decision_ids=("d0",), version=4)
    assert outcomes.not_sent(before, push(PERMIT)) == before
    assert outcomes.not_sent(None, push(PERMIT)) == DeliveredTarget(target="n")


def test_the_version_grows_and_is_bounded_by_what_was_read_from_kafka() -> None:
    def version(previous: int, *, written_at: int = NOW, clock: int = NOW, newest: int = NOW) -> int:
        row = DeliveredTarget(target="n", version=previous)
        return outcomes.next_version(row, written_at=written_at, clock=clock, newest_append=newest)

    assert outcomes.next_version(None, written_at=NOW, clock=NOW - 1, newest_append=NOW) == NOW
    assert version(0, clock=NOW + 1_000_000) == NOW + 1_000_000
    assert version(0, clock=NOW + 3_600_000_000) == NOW + 2_000_000, "a clock that is an hour fast"
    assert version(NOW + 5) == NOW + 6
    assert version(NOW, clock=NOW - 1, newest=0) == NOW + 1


def test_the_id_of_a_receipt_follows_from_what_it_states() -> None:
    receipt = Receipt(
        tenant="acme",
        destination="crm",
        channel="sms",
        address_key="h1.a",
        target="list-1",
        action=SUPPRESS,
        stage="accepted",
        decision_ids=("d1",),
        version=7,
        recorded_at=NOW,
        queued_at=NOW,
        reached_at=NOW,
        attempts=1,
    )
    repeated = replace(receipt, version=8, reached_at=LATER, attempts=2)
    assert receipt.receipt_id == repeated.receipt_id
    assert str(UUID(receipt.receipt_id)) == receipt.receipt_id
    assert UUID(receipt.receipt_id).version == 8
    others = [
        replace(receipt, stage="effective"),
        replace(receipt, action=PERMIT),
        replace(receipt, decision_ids=("d1", "d2")),
        replace(receipt, destination="crm2"),
        replace(receipt, target="list-2"),
        replace(receipt, detail="no_target"),
    ]
    assert len({each.receipt_id for each in [receipt, *others]}) == 7
