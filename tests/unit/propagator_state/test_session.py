"""Addresses whose rows were refused for their size."""

import asyncio

import pytest

from propagator.desired.model import PERMIT, SUPPRESS, Action, DeliveredTarget, RetryState
from propagator.sending.ports import PendingPush
from propagator.state.overlay import UndurableRow
from propagator.state.session import SenderSession

RETRY = RetryState(action=SUPPRESS, decision_ids=("d1",), attempts=1, reason="http_500", retry_at=0)
TOOK = DeliveredTarget(target="t1", action=SUPPRESS, decision_ids=("d1",))


def push(kind: Action, target: str = "t1") -> PendingPush:
    return PendingPush(address_key="h1.a", target=target, kind=kind, live=True, since=1)


@pytest.mark.parametrize(
    ("row", "pushed", "expected"),
    [
        (TOOK, push(SUPPRESS), True),
        (DeliveredTarget(target="t1", retry=RETRY), push(SUPPRESS), False),
        (DeliveredTarget(target="t1", action=PERMIT, decision_ids=("d0",)), push(SUPPRESS), False),
        (TOOK, push(SUPPRESS, "t2"), False),
    ],
    ids=["taken", "failed", "an earlier permission", "another target"],
)
async def test_only_what_the_target_took_rests_after_its_row_was_refused(
    row: DeliveredTarget, pushed: PendingPush, expected: bool
) -> None:
    session = SenderSession()
    session.row_refused(UndurableRow(destination="tool", address_key="h1.a", partition=0, rows={"t1": row}))
    session.end()
    await asyncio.sleep(0)
    assert session.rests("tool", pushed) is expected
    assert not session.rests("other", pushed)
