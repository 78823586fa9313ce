"""A batch whose transaction would last longer than its lane allows is recorded in smaller ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consent_api.errors import TransactionTooLongError
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.record import Consumed
from consent_api.ingest.submissions import Submissions
from consent_api.ledger.lanes import Lane
from consent_api.validate import Accepted, Rules


class TimedLedger:
    """Records so many decisions in one transaction, and no more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.too_long = 0
        self.transactions: list[list[Accepted]] = []
        self.lanes: set[Lane] = set()

    def clock(self) -> int:
        return time.time_ns() // 1_000

    def record(self, accepted: Sequence[Accepted], *, lane: Lane) -> list[Any]:
        if len(accepted) > self._most:
            self.too_long += 1
            raise TransactionTooLongError("too many")
        self.transactions.append(list(accepted))
        self.lanes.add(lane)
        return [Recorded() for _ in accepted]


class Recorded:
    duplicate = False
    repeated = False


class PlainCodec:
    """Each record is a withdrawal with an event id of its own."""

    def decode(self, topic: str, value: bytes | None) -> dict[str, Any]:
        return {
            "event_id": str(value),
            "tenant": "acme",
            "channel": "sms",
            "purpose": "newsletter",
            "status": "withdrawn",
            "subject_ref": "crm-1",
            "address": "+33639980001",
            "occurred_at": time.time_ns() // 1_000 - 1_000_000,
            "expires_at": None,
            "evidence": None,
        }


def submissions(ledger: TimedLedger, lane: Lane) -> Submissions:
    return Submissions(
        lane=lane,
        codec=PlainCodec(),  # type: ignore[arg-type]
        ledger=ledger,  # type: ignore[arg-type]
        rules=Rules(channels=("sms",), default_region="FR"),
        tenants=("acme",),
        default_tenant=None,
        dead_letters=None,  # type: ignore[arg-type]
        metrics=IngestMetrics.on(CollectorRegistry()),
    )


def records(count: int) -> list[Consumed]:
    return [
        Consumed(
            topic="consent.inbound.v1",
            partition=0,
            offset=number,
            timestamp=1,
            key=None,
            value=b"%d" % number,
            headers=(),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("lane", list(Lane))
def test_a_batch_is_split_until_it_fits_and_keeps_its_order(lane: Lane) -> None:
    ledger = TimedLedger(most=3)
    submissions(ledger, lane).handle(records(10))
    assert [each.event_id for batch in ledger.transactions for each in batch] == [f"b'{n}'" for n in range(10)]
    assert max(map(len, ledger.transactions)) <= 3
    assert ledger.lanes == {lane}
    assert {each.bulk for batch in ledger.transactions for each in batch} == {lane is Lane.BULK}


def test_what_has_fitted_is_remembered() -> None:
    ledger = TimedLedger(most=100)
    live = submissions(ledger, Lane.LIVE)
    for _ in range(3):
        live.handle(records(160))
    assert ledger.too_long == 1
    assert [len(each) for each in ledger.transactions[:2]] == [80, 80]


def test_one_decision_that_does_not_fit_waits_for_better_times() -> None:
    with pytest.raises(TransactionTooLongError):
        submissions(TimedLedger(most=0), Lane.LIVE).handle(records(2))
