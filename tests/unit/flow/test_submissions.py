"""A batch whose transaction would last longer than its lane allows is recorded in smaller ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consent_api.domain.effects import Effect, Outcome
from consent_api.domain.validation import ValidationRules, ValidDecision
from consent_api.errors import LedgerContendedError, TransactionTooLongError
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.record import Consumed
from consent_api.ingest.results import SubmissionResult
from consent_api.ingest.submissions import Submissions
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import MAX_TOO_LONG
from consent_contracts.errors import RegistryUnavailableError
from consent_service.clock import now_micros


class TimedLedger:
    """Records so many decisions in one transaction, and no more. `held`: subjects that another transaction locks; to
    find that out takes a while."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held: set[str | None] = set()
        self.unlimited: set[Lane] = set()
        self.people = 5
        self.lock_seconds = 0.0
        self.clock = 0.0
        self.contended = 0
        self.too_long = 0
        self.transactions: list[list[ValidDecision]] = []
        self.lanes: set[Lane] = set()

    def now(self) -> int:
        return now_micros()

    def attempt(self, accepted: Sequence[ValidDecision], *, lane: Lane, lock_ms: int | None = None) -> list[Any]:
        if self.held & {each.subject_ref for each in accepted}:
            self.contended += 1
            self.clock += self.lock_seconds
            raise LedgerContendedError("locked")
        if len(accepted) > self._most and lane not in self.unlimited:
            self.too_long += 1
            raise TransactionTooLongError("too many")
        self.transactions.append(list(accepted))
        self.lanes.add(lane)
        return [recorded() for _ in accepted]


def recorded() -> RecordedDecision:
    outcome = Outcome(effect=Effect.IN_EFFECT)
    return RecordedDecision(
        decision_id="d",
        status="withdrawn",
        effective_at=0,
        recorded_at=0,
        address_keys=(),
        outcome=outcome,
        without_effect=False,
    )


class NoResults:
    def write(self, results: Sequence[SubmissionResult], *, now: int) -> None:
        pass


class PlainCodec:
    """Each record is a withdrawal with an event id of its own, of one of `people`."""

    def __init__(self, people: int) -> None:
        self._people = people

    def asks_registry(self, topic: str, value: bytes | None) -> bool:
        return False

    def decode(self, topic: str, value: bytes | None, *, read_at: float | None = None) -> dict[str, Any]:
        return {
            "event_id": str(value),
            "tenant": "acme",
            "channel": "sms",
            "purpose": "newsletter",
            "status": "withdrawn",
            "subject_ref": f"crm-{int(value or b'') % self._people}",
            "address": "+33639980001",
            "occurred_at": now_micros() - 1_000_000,
            "expires_at": None,
            "evidence": None,
        }


class ChangedCodec(PlainCodec):
    """Each record with these fields changed."""

    def __init__(self, change: dict[str, Any]) -> None:
        super().__init__(people=5)
        self._change = change

    def decode(self, topic: str, value: bytes | None, *, read_at: float | None = None) -> dict[str, Any]:
        return {**super().decode(topic, value), **self._change}


class NewSchemaCodec(PlainCodec):
    """Every tenth record has a schema that is asked for, which takes a while where the registry is `unavailable`."""

    def __init__(self, ledger: TimedLedger) -> None:
        super().__init__(people=5)
        self._ledger = ledger
        self.unavailable, self.known, self.asked = True, False, 0

    def asks_registry(self, topic: str, value: bytes | None) -> bool:
        return int(value or b"") % 10 == 0 and not self.known

    def decode(self, topic: str, value: bytes | None, *, read_at: float | None = None) -> dict[str, Any]:
        if self.asks_registry(topic, value):
            self.asked += 1
            if self.unavailable:
                self._ledger.clock += 5.0
                raise RegistryUnavailableError("no answer")
            self.known = True
        return super().decode(topic, value)


def submissions(
    ledger: TimedLedger, lane: Lane, codec: PlainCodec | None = None, registry: CollectorRegistry | None = None
) -> Submissions:
    return Submissions(
        lane=lane,
        codec=codec or PlainCodec(ledger.people),  # type: ignore[arg-type]
        ledger=ledger,  # type: ignore[arg-type]
        rules=ValidationRules(channels=("sms",), default_region="FR"),
        tenants=("acme",),
        default_tenant=None,
        dead_letters=None,  # type: ignore[arg-type]
        results=NoResults(),  # type: ignore[arg-type]
        metrics=IngestMetrics.on(registry or CollectorRegistry()),
        clock=lambda: ledger.clock,
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


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        (b"/crm", True),
        (b"/users/jean.dupont@example.com", False),
        (b"tel:33639980002", False),
        (b"/users/33639980001", False),
    ],
)
def test_the_name_of_a_source_that_shows_an_address_is_not_kept(source: bytes, kept: bool) -> None:  # R13
    ledger = TimedLedger(most=1)
    [record] = records(1)
    submissions(ledger, Lane.LIVE).handle([replace(record, headers=(("ce_source", source),))])
    [[accepted]] = ledger.transactions
    assert accepted.event is not None
    assert (accepted.event[1] == source.decode()) is kept
    assert accepted.event[1]


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


def test_a_bulk_decision_that_does_not_fit_waits_for_better_times() -> None:
    with pytest.raises(TransactionTooLongError):
        submissions(TimedLedger(most=0), Lane.BULK).handle(records(2))


def test_a_live_decision_that_never_fits_by_itself_goes_by_the_bulk_lane_with_its_own_mark() -> None:
    ledger = TimedLedger(most=0)
    ledger.unlimited = {Lane.BULK}
    live = submissions(ledger, Lane.LIVE)
    for _ in range(MAX_TOO_LONG - 1):
        assert live.handle(records(2)) == records(2)
    assert live.handle(records(2)) == []
    assert ledger.lanes == {Lane.BULK}
    assert [each.bulk for batch in ledger.transactions for each in batch] == [False, False]


def test_a_live_decision_stays_live_while_the_database_is_slow_for_seconds() -> None:
    ledger = TimedLedger(most=0)
    live = submissions(ledger, Lane.LIVE)
    assert live.handle(records(1)) == records(1)
    assert live.handle(records(1)) == records(1)
    ledger.unlimited = {Lane.LIVE}
    assert live.handle(records(1)) == []
    assert ledger.lanes == {Lane.LIVE}
    ledger.unlimited = set()
    assert live.handle(records(1)) == records(1), "its attempts are counted from 0 again"


def test_only_what_concerns_a_person_who_is_locked_is_left() -> None:
    ledger = TimedLedger(most=100)
    ledger.held = {"crm-3"}
    live = submissions(ledger, Lane.LIVE)
    left = live.handle(records(20))
    assert [each.offset for each in left] == [3, 8, 13, 18]
    assert sum(map(len, ledger.transactions)) == 16
    assert ledger.contended == 2, "together, and once for the person alone"


def test_a_person_who_was_locked_delays_no_other_the_next_time_and_keeps_their_order() -> None:
    ledger = TimedLedger(most=100)
    ledger.held = {"crm-3"}
    live = submissions(ledger, Lane.LIVE)
    left = live.handle(records(20))
    ledger.transactions, ledger.contended = [], 0
    batch = [*left, *records(30)[20:]]
    assert [each.offset for each in live.handle(batch)] == [3, 8, 13, 18, 23, 28]
    assert [len(each) for each in ledger.transactions] == [8]
    assert ledger.contended == 1
    ledger.held, ledger.transactions = set(), []
    assert live.handle(left) == []
    assert [each.event_id for batch in ledger.transactions for each in batch] == [f"b'{n}'" for n in (3, 8, 13, 18)]


def test_where_no_person_can_be_recorded_not_each_is_tried() -> None:
    ledger = TimedLedger(most=100)
    ledger.held = {f"crm-{number}" for number in range(50)}
    ledger.people, ledger.lock_seconds = 50, 0.02
    live = submissions(ledger, Lane.LIVE)
    assert live.handle(records(200)) == records(200)
    assert ledger.contended < 30
    ledger.held = set()
    assert live.handle(records(200)) == []
    order = [int((each.event_id or "")[2:-1]) for batch in ledger.transactions for each in batch]
    for person in range(50):
        assert [each for each in order if each % 50 == person] == list(range(person, 200, 50))


def test_a_schema_that_an_unavailable_registry_is_asked_for_holds_up_no_other() -> None:
    ledger, registry = TimedLedger(most=100), CollectorRegistry()
    codec = NewSchemaCodec(ledger)
    live = submissions(ledger, Lane.LIVE, codec, registry)
    left = live.handle(records(20))
    assert [each.offset for each in left] == [0, 10]
    assert sum(map(len, ledger.transactions)) == 18
    assert codec.asked == 1, "once for all of a batch, as each question may take seconds"
    assert live.handle(left) == left
    assert codec.asked == 1, "not at once again"
    for _ in range(100):
        ledger.clock += 1.0
        assert live.handle(left) == left
    assert 4 <= codec.asked <= 8, "ever less often"
    labels = {"topic": "consent.inbound.v1", "cause": "registry"}
    assert registry.get_sample_value("consent_relay_ingest_retries_total", labels) == codec.asked
    codec.unavailable = False
    ledger.clock += 30.0
    assert live.handle(left) == []
    assert [each.event_id for each in ledger.transactions[-1]] == ["b'0'", "b'10'"]


def test_what_waits_for_the_registry_and_who_is_locked_keep_their_order() -> None:
    ledger = TimedLedger(most=100)
    ledger.held = {"crm-3"}
    left = submissions(ledger, Lane.LIVE, NewSchemaCodec(ledger)).handle(records(20))
    assert [each.offset for each in left] == [0, 3, 8, 10, 13, 18], "offsets are stored below the first"


@pytest.mark.long
def test_persons_who_are_held_at_the_head_of_a_batch_hold_up_no_others() -> None:
    ledger = TimedLedger(most=1_000)
    ledger.people, ledger.lock_seconds = 1_000, 0.005
    ledger.held = {f"crm-{number}" for number in range(300)}
    live = submissions(ledger, Lane.LIVE)
    left = live.handle(records(310))
    assert {each.offset for each in left} == set(range(300)), "the newest are tried first"
    for _ in range(10):
        left = live.handle(left)
    assert left == records(300)
    began = ledger.clock
    assert live.handle(records(311)[310:]) == []
    assert ledger.clock - began < 1.0


@pytest.mark.long
def test_each_person_who_waits_is_tried_in_turn() -> None:
    ledger = TimedLedger(most=1_000)
    ledger.people, ledger.lock_seconds = 300, 0.01
    ledger.held = {f"crm-{number}" for number in range(300)}
    live = submissions(ledger, Lane.LIVE)
    left: Sequence[Consumed] = records(300)
    for _ in range(10):
        left = live.handle(left)
    assert len(left) == 300
    ledger.held.discard("crm-299")
    for _ in range(10):
        left = live.handle(left)
    assert left == records(299)


@pytest.mark.parametrize("lane", list(Lane))
def test_a_refusal_is_recorded_without_what_cannot_be_read_which_is_counted_and_logged(  # R16
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, registry = TimedLedger(most=100), CollectorRegistry()
    evidence = {"actor": "called +33639980002", "notice_id": "x" * 2_001}
    codec = ChangedCodec(
        {"event_id": "", "subject_ref": "null", "occurred_at": 0, "expires_at": 2**63 - 1, "evidence": evidence}
    )
    before = ledger.now()
    assert submissions(ledger, lane, codec, registry).handle(records(3)) == []
    recorded = [each for batch in ledger.transactions for each in batch]
    assert len(recorded) == 3
    for each in recorded:
        assert (each.address, each.subject_ref, each.event_id) == ("+33639980001", None, None)
        assert before <= each.effective_at == each.recorded_at
    (line,) = caplog.records
    assert line.__dict__["count"] == 3
    assert line.__dict__["records"] == ["0:0", "0:1", "0:2"]
    assert "/occurred_at: too_old" in line.__dict__["fields"]
    assert "6399" not in str(line.__dict__)
    counts = {"event_id": 3, "subject_ref": 3, "occurred_at": 3, "expires_at": 3, "evidence": 6}
    for name, count in counts.items():
        labels = {"topic": "consent.inbound.v1", "field": name}
        assert registry.get_sample_value("consent_relay_ingest_dropped_fields_total", labels) == count
