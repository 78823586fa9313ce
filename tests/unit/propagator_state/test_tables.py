"""A partition's tables over a store on disk, without a broker."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from consent_contracts import lane_header, schemas
from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.errors import RegistryUnavailableError
from consent_contracts.records import entry_to_avro
from consent_service import trace_context
from consent_service.trace_context import TraceContext, begin
from consent_state import Batch, Position, StateStore, TopicPartition
from propagator.desired.model import Action, DeliveredTarget, DestinationRules, Purposes, RetryState
from propagator.sending.ports import Kind, PendingPush
from propagator.state import layout
from propagator.state.destination_state import TableDestinationState
from propagator.state.overlay import UndurableRow
from propagator.state.planning import PlannedDestination, RecordDecoder
from propagator.state.rows import DestinationFill, address_datum, destination_datum, row_key
from propagator.state.scan import Scanner
from propagator.state.session import SenderSession
from propagator.state.tables import PLANNED_AT_ONCE, Applied, PartitionTables, TableTopics
from propagator.state.unknown_schemas import UnknownSchemas
from tests.support.waiting import until

LIST, STATE, RESOLVED = "suppression.sms.v1", "propagation.state.default.v1", "suppression.resolved.v1"
MAIL = "suppression.email.v1"
FOREIGN_ID = 99
"""Of a schema that another writer registered."""
TOPICS = TableTopics(lists={LIST: "sms"}, state=STATE, resolved=RESOLVED)


class Ids:
    """A registry that knows our own schemas."""

    def id_of(self, subject: str, schema_text: str) -> int:
        return 1 + [schemas.schema_text(name) for name in schemas.RECORD_NAMES].index(schema_text)

    unavailable = False

    def schemas_of(self, subject: str) -> dict[int, str]:
        if self.unavailable:
            raise RegistryUnavailableError("unavailable")
        return {FOREIGN_ID: schemas.schema_text("SuppressionEntry")}


class Message:
    def __init__(
        self,
        topic: str,
        offset: int,
        key: str,
        value: bytes | None,
        *,
        bulk: bool = False,
        at: int = 1_000_000,
        trace: TraceContext | None = None,
    ) -> None:
        self._topic, self._offset, self._key, self._value, self._at = topic, offset, key, value, at
        self._headers = [lane_header.BULK_HEADER] if bulk else []
        if trace is not None:
            self._headers.append((trace_context.HEADER, str(trace).encode()))

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers

    def topic(self) -> str:
        return self._topic

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key.encode()

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 2, self._at // 1_000


class Counted:
    def __init__(self) -> None:
        self.failed: list[str] = []

    def planning_failed(self, destination: str) -> None:
        self.failed.append(destination)

    def entry_unreadable(self, destination: str, reason: str) -> None:
        pass

    def delivered_unreadable(self, destination: str) -> None:
        pass


def planned(name: str, *, fingerprint: str = "f", **changes: Any) -> PlannedDestination:
    fields: dict[str, Any] = {
        "destination": name,
        "tenant": "acme",
        "channel": "sms",
        "purposes": Purposes(targets={}, same=True),
        "push_permissions": False,
        "address_required": True,
        "live_keys": ("h1",),
    }
    return PlannedDestination(rules=DestinationRules(**(fields | changes)), generation=0, fingerprint=fingerprint)


class Bench:
    def __init__(self, directory: Path) -> None:
        self.ids = Ids()
        self.codec = Codec(self.ids)
        self.clock = 1_000_000_000
        self.appended_at = 1_000_000
        self.directory = directory
        self.offset = 0
        self.reported: list[int] = []
        self.undurable: dict[tuple[str, str], Mapping[str, DeliveredTarget]] = {}
        self.events = Counted()
        self.topics = TOPICS
        self.tables = self.open(planned("crm"))

    def open(self, *destinations: PlannedDestination) -> PartitionTables:
        store = StateStore.open(self.directory, format_version=1, partitions=4)
        self.decoder = RecordDecoder(
            self.codec,
            list_topics={"sms": LIST, "email": MAIL},
            state_topic=STATE,
            unknown_schemas=UnknownSchemas(clock=lambda: self.clock, elapsed=lambda: self.clock),
        )
        self.tables = PartitionTables(
            store,
            0,
            topics=self.topics,
            destinations=destinations,
            decoder=self.decoder,
            unreadable=self,
            events=self.events,
            undurable=lambda name, key: self.undurable.get((name, key)),
        )
        self.tables.load()
        return self.tables

    def reopen(self, *destinations: PlannedDestination) -> PartitionTables:
        self.tables.store.close()
        return self.open(*destinations)

    def pass_seconds(self, seconds: int) -> None:
        self.clock += seconds * 1_000_000

    def report(self, at: TopicPartition, offset: int, *_: Any) -> None:
        self.reported.append(offset)

    def entry(
        self,
        key: str,
        recorded_at: int,
        *,
        bulk: bool = False,
        purpose: str = "news",
        tenant: str = "acme",
        sealed: bytes | None = b"s",
        erased_at: int | None = None,
        status: str = "withdrawn",
    ) -> bytes:
        decision = Decision(
            decision_id=str(uuid4()),
            subject_ref="s",
            purpose=purpose,
            status=status,
            effective_at=recorded_at,
            recorded_at=recorded_at,
            bulk=bulk,
        )
        made = AddressEntry(
            tenant=tenant,
            channel="sms",
            address_key=key,
            sealed_address=sealed,
            decisions=(decision,),
            erased_at=erased_at,
        )
        self.last_decision = decision.decision_id
        return self.codec.encode(LIST, entry_to_avro(made, recorded_at))

    def apply(
        self, topic: str, *records: tuple[str, bytes | None], bulk: bool = False, trace: TraceContext | None = None
    ) -> Applied:
        messages = []
        for key, value in records:
            messages.append(Message(topic, self.offset, key, value, bulk=bulk, at=self.appended_at, trace=trace))
            self.offset += 1
        return self.tables.apply([Batch(TopicPartition(topic, 0), messages, Position("id", self.offset))])

    def row(
        self,
        key: str,
        *decision_ids: str,
        destination: str = "crm",
        action: Action = "suppress",
        refused: str | None = None,
    ) -> tuple[str, bytes]:
        delivered = DeliveredTarget(target="news", action=action, decision_ids=decision_ids, refused=refused)
        datum = address_datum(destination=destination, tenant="acme", address_key=key, rows=[delivered], written_at=1)
        return row_key(destination, key).decode(), self.codec.encode(STATE, datum)

    def failed(self, key: str, decision_id: str, *, retry_at: int) -> tuple[str, bytes]:
        retry = RetryState(
            action="suppress", decision_ids=(decision_id,), attempts=1, reason="server_error", retry_at=retry_at
        )
        rows = [DeliveredTarget(target="news", retry=retry)]
        datum = address_datum(destination="crm", tenant="acme", address_key=key, rows=rows, written_at=1)
        return row_key("crm", key).decode(), self.codec.encode(STATE, datum)

    def fill(self, began_at: int) -> tuple[str, bytes]:
        fill = DestinationFill(generation=0, began_at=began_at, loss=0)
        datum = destination_datum(destination="crm", tenant="acme", fill=fill, written_at=1)
        return row_key("crm", "").decode(), self.codec.encode(STATE, datum)

    def pending(self, **query: Any) -> list[PendingPush]:
        return list(self.tables.ready("crm", **({"live": True, "kind": "suppress"} | query)))

    def due(self, by: int) -> list[PendingPush]:
        return list(self.tables.due("crm", live=True, kind="suppress", due_by=by))

    def scan(self) -> None:
        scanner = Scanner([self.tables])
        scanner.check()
        while scanner.busy:
            scanner.step()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "0")
    yield made
    made.tables.store.close()


def test_an_entry_and_its_pending_push_are_written_together_and_survive_a_restart(bench: Bench) -> None:
    applied = bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    assert [each.address_key for each in applied.offers["crm"]] == ["h1.a"]
    tables = bench.reopen(planned("crm"))
    assert [each.since for each in bench.pending()] == [50]
    assert tables.counts("crm") == {(True, "suppress"): 1}
    assert tables.store.positions[TopicPartition(LIST, 0)].offset == 1


def test_the_oldest_are_read_first_and_targets_can_be_left_out(bench: Bench) -> None:
    for key, since, purpose in (("h1.a", 30, "news"), ("h1.b", 10, "news"), ("h1.c", 20, "survey")):
        bench.apply(LIST, (key, bench.entry(key, since, purpose=purpose)))
    assert [each.address_key for each in bench.pending()] == ["h1.b", "h1.c", "h1.a"]
    assert [each.address_key for each in bench.pending(skip_targets={"news"})] == ["h1.c"]
    assert bench.tables.oldest("crm", live=True, kind="suppress") == 10
    assert bench.pending(live=False) == []


def test_a_row_that_is_read_back_removes_the_pending_push(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.apply(STATE, bench.row("h1.a", bench.last_decision))
    assert bench.pending() == []
    assert bench.tables.counts("crm") == {}


def test_revocations_that_ended_as_impossible_are_counted_over_restarts_and_scans(bench: Bench) -> None:
    impossible = {(False, "impossible"): 1}
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    row = bench.row("h1.a", bench.last_decision, refused="21211")
    assert not bench.apply(STATE, row).offers, "it is no work"
    assert bench.tables.counts("crm") == impossible
    bench.reopen(planned("crm"))
    assert bench.tables.counts("crm") == impossible
    bench.tables.begin_bulk()  # Another process, whose disk is empty, reads the topics and scans.
    bench.scan()
    assert bench.tables.counts("crm") == impossible
    bench.reopen(planned("crm", fingerprint="of another mapping"))
    bench.scan()
    assert bench.tables.counts("crm") == impossible


def test_an_impossible_revocation_counts_until_it_is_superseded_delivered_or_forgotten(bench: Bench) -> None:
    for key in ("h1.superseded", "h1.delivered", "h1.erased", "h1.filled"):
        bench.apply(LIST, (key, bench.entry(key, 50)))
        row = bench.row(key, bench.last_decision, refused="21211")
        bench.apply(STATE, row)
    assert bench.tables.counts("crm")[False, "impossible"] == 4
    bench.apply(LIST, ("h1.superseded", bench.entry("h1.superseded", 60)))
    assert bench.tables.counts("crm") == {(False, "impossible"): 3, (True, "suppress"): 1}
    bench.apply(LIST, ("h1.delivered", bench.entry("h1.delivered", 60)))
    bench.apply(STATE, bench.row("h1.delivered", bench.last_decision))
    bench.apply(LIST, ("h1.erased", None))
    bench.apply(STATE, ("crm/h1.erased", None))
    assert bench.tables.counts("crm") == {(False, "impossible"): 1, (True, "suppress"): 1}
    bench.apply(STATE, bench.fill(100))
    bench.scan()
    assert (False, "impossible") not in bench.tables.counts("crm"), "all of it is tried again"


def test_a_newer_entry_replaces_what_was_pending(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)), ("h1.a", bench.entry("h1.a", 60)))
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 70)))
    assert [each.since for each in bench.pending()] == [60], "nothing was delivered since then"
    assert bench.tables.counts("crm") == {(True, "suppress"): 1}


def test_a_live_revocation_that_an_import_states_again_stays_live_until_it_is_delivered(bench: Bench) -> None:  # R46
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)), ("h1.b", bench.entry("h1.b", 50)))
    restated = [("h1.a", bench.entry("h1.a", 60, bulk=True)), ("h1.b", bench.entry("h1.b", 60, bulk=True))]
    offered = bench.apply(LIST, *restated, bulk=True).offers["crm"]
    assert [(each.live, each.since) for each in offered] == [(True, 50)] * 2
    bench.reopen(planned("crm", fingerprint="of another mapping"))
    bench.scan()
    assert bench.tables.counts("crm") == {(True, "suppress"): 2}
    assert bench.tables.oldest("crm", live=True, kind="suppress") == 50
    bench.apply(STATE, bench.row("h1.b", bench.last_decision))
    bench.apply(LIST, ("h1.b", bench.entry("h1.b", 70, bulk=True)), bulk=True)
    assert [each.address_key for each in bench.pending()] == ["h1.a"]
    bench.apply(STATE, bench.fill(100))
    bench.scan()
    assert bench.tables.counts("crm")[True, "suppress"] == 0, "what is older than a fill is bulk"


def restate_unreadably(bench: Bench, key: str) -> None:
    """An import, while the registry does not answer for its schema."""
    bench.ids.unavailable = True
    offered = bench.apply(LIST, (key, foreign_schema(bench.entry(key, 60, bulk=True))), bulk=True).offers["crm"]
    assert [(each.kind, each.target) for each in offered] == [("record", "")]


def retry_unplanned(bench: Bench) -> list[PendingPush]:
    bench.pass_seconds(10)
    return bench.tables.retry_unplanned(500).get("crm", [])


def oldest_live(bench: Bench) -> int | None:
    return bench.tables.oldest("crm", live=True, kind="suppress")


def test_a_live_revocation_stays_live_while_what_states_it_again_cannot_be_planned(bench: Bench) -> None:  # R46
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    restate_unreadably(bench, "h1.a")
    unplanned = {(True, "suppress"): 1, (True, "record"): 1}
    for _ in range(2):
        assert bench.tables.counts("crm") == unplanned
        assert oldest_live(bench) == 50
        assert (bench.pending(), bench.due(2**62)) == ([], []), "a sender could not plan it either"
        bench.reopen(planned("crm", fingerprint="of another mapping"))
        assert bench.tables.counts("crm") == unplanned, "counted as before a restart"
        bench.scan()
        assert [each.kind for each in retry_unplanned(bench)] == ["record"]
    bench.ids.unavailable = False
    assert [(each.kind, each.live, each.since) for each in retry_unplanned(bench)] == [("suppress", True, 50)]
    assert [(each.target, each.since) for each in bench.pending()] == [("news", 50)]
    assert bench.due(2**62) == [], "it is found once"
    assert bench.tables.counts("crm") == {(True, "suppress"): 1}
    assert retry_unplanned(bench) == []
    bench.apply(STATE, bench.row("h1.a", bench.last_decision))
    assert (bench.tables.counts("crm"), oldest_live(bench)) == ({}, None)


def test_a_live_revocation_that_backed_off_stays_live_over_an_entry_that_cannot_be_planned(bench: Bench) -> None:  # R46
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.apply(STATE, bench.failed("h1.a", bench.last_decision, retry_at=900))
    assert [each.not_before for each in bench.due(2**62)] == [900]
    restate_unreadably(bench, "h1.a")
    assert (bench.tables.counts("crm")[True, "suppress"], oldest_live(bench), bench.due(2**62)) == (1, 50, [])
    bench.ids.unavailable = False
    retry_unplanned(bench)
    assert bench.tables.counts("crm") == {(True, "suppress"): 1}
    assert [(each.address_key, each.since) for each in (*bench.pending(), *bench.due(2**62))] == [("h1.a", 50)]


def test_a_live_revocation_stays_live_over_an_entry_at_which_planning_fails(bench: Bench) -> None:  # R46
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 60, bulk=True, purpose="a\0b")), bulk=True)
    assert bench.events.failed == ["crm"]
    assert bench.tables.counts("crm") == {(True, "suppress"): 1, (True, "record"): 1}
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 70, bulk=True)), bulk=True)
    assert [each.since for each in bench.pending()] == [50]
    assert bench.tables.counts("crm") == {(True, "suppress"): 1}


ENDS: dict[str, dict[tuple[bool, Kind], int]] = {
    "its own delivery": {(False, "record"): 1},
    "delivery": {},
    "permission": {(True, "permit"): 1},
    "fill": {(False, "suppress"): 1},
    "erasure": {},
}
"""What ends a pending live revocation, and what is pending then, by class and kind. After its own delivery the target
takes over the decision that states it again."""


@pytest.mark.parametrize("ended_by", ENDS)
def test_a_live_revocation_that_could_not_be_planned_ends_as_any(bench: Bench, ended_by: str) -> None:
    bench.reopen(planned("crm", push_permissions=True))
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    own = bench.last_decision
    restate_unreadably(bench, "h1.a")
    match ended_by:
        case "its own delivery":
            bench.apply(STATE, bench.row("h1.a", own))
        case "delivery":
            bench.apply(STATE, bench.row("h1.a", bench.last_decision))
        case "permission":
            bench.apply(LIST, ("h1.a", foreign_schema(bench.entry("h1.a", 70, status="given"))))
        case "fill":
            bench.apply(STATE, bench.fill(100))
            bench.scan()
            assert oldest_live(bench) is None, "what is older than a fill is bulk"
        case "erasure":
            bench.apply(LIST, ("h1.a", None))
    bench.ids.unavailable = False
    retry_unplanned(bench)
    assert bench.tables.counts("crm") == ENDS[ended_by]
    bench.reopen(planned("crm", push_permissions=True))
    assert bench.tables.counts("crm") == ENDS[ended_by]


@pytest.mark.parametrize("others", [0, PLANNED_AT_ONCE])
def test_a_live_revocation_stays_live_that_is_read_together_with_the_import(bench: Bench, others: int) -> None:  # R46
    live = Message(LIST, 0, "h1.a", bench.entry("h1.a", 50))
    more = [Message(LIST, 1 + n, f"h1.b{n}", bench.entry(f"h1.b{n}", 5, bulk=True), bulk=True) for n in range(others)]
    restated = Message(LIST, 500, "h1.a", bench.entry("h1.a", 60, bulk=True), bulk=True)
    bench.tables.apply([Batch(TopicPartition(LIST, 0), [live, *more, restated], Position("id", 501))])
    assert [(each.address_key, each.since) for each in bench.pending()] == [("h1.a", 50)]
    while bench.tables.unplanned("sms"):
        bench.tables.plan_deferred(60)
    assert [(each.address_key, each.since) for each in bench.pending()] == [("h1.a", 50)]
    assert bench.tables.counts("crm") == Counter({(True, "suppress"): 1, (False, "suppress"): others})
    assert bench.tables.store.positions[TopicPartition(LIST, 0)].offset == 501


def test_targets_of_an_address_are_read_together(bench: Bench) -> None:
    bench.reopen(planned("crm", purposes=Purposes(targets={"news": ("a", "b")})))
    bench.apply(LIST, *((f"h1.{number}", bench.entry(f"h1.{number}", 50)) for number in range(3)))
    found = [(each.address_key, each.target) for each in bench.pending()]
    assert found == [(f"h1.{number}", target) for number in range(3) for target in ("a", "b")]


def test_what_was_delivered_is_not_read_past_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        bench.apply(LIST, (f"h1.{number:02}", bench.entry(f"h1.{number:02}", 50 + number)))
        if number < 15:
            bench.apply(STATE, bench.row(f"h1.{number:02}", bench.last_decision))
    bench.tables.advance_heads()
    starts: list[bytes] = []
    scan = bench.tables.store.scan

    def noted(start: bytes, stop: bytes, limit: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        starts.append(start)
        return scan(start, stop, limit)

    monkeypatch.setattr(bench.tables.store, "scan", noted)
    assert [each.since for each in bench.pending()] == [65, 66, 67, 68, 69]
    assert starts[0].endswith(b"h1.15")
    bench.apply(LIST, ("h1.older", bench.entry("h1.older", 40)), ("h1.younger", bench.entry("h1.younger", 66)))
    assert [each.since for each in bench.pending()] == [40, 65, 66, 66, 67, 68, 69]
    bench.tables.advance_heads()
    assert bench.tables.oldest("crm", live=True, kind="suppress") == 40


def test_an_entry_of_another_tenant_is_never_pending(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50, tenant="globex")))
    assert bench.tables.counts("crm") == {}


def test_what_is_delivered_and_not_read_back_is_planned_too(bench: Bench) -> None:
    """A withdrawal right after a permission that is not read back: the table alone shows no difference."""
    value = bench.entry("h1.a", 50)
    bench.apply(LIST, ("h1.a", value))
    bench.apply(STATE, bench.row("h1.a", bench.last_decision))
    permitted = DeliveredTarget(target="news", action="permit", decision_ids=("other",))
    bench.undurable["crm", "h1.a"] = {"news": permitted}
    applied = bench.apply(LIST, ("h1.a", value))
    assert [each.kind for each in applied.offers["crm"]] == ["suppress"]
    assert bench.pending() == []


def test_what_was_delivered_since_a_row_was_written_is_not_offered_again(bench: Bench) -> None:
    """The row of the first target is read back while that of both is on its way."""
    bench.reopen(planned("crm", purposes=Purposes(targets={"news": ("news", "other")})))
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    ids = (bench.last_decision,)
    bench.undurable["crm", "h1.a"] = {
        each: DeliveredTarget(target=each, action="suppress", decision_ids=ids) for each in ("news", "other")
    }
    applied = bench.apply(STATE, bench.row("h1.a", *ids))
    assert applied.offers == {}
    assert [each.target for each in bench.pending()] == ["other"]


def test_a_row_that_is_read_back_as_it_was_recorded_is_planned_once(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.undurable["crm", "h1.a"] = {"news": DeliveredTarget(target="news", action="permit", decision_ids=("other",))}
    applied = bench.apply(STATE, bench.row("h1.a", "other", action="permit"))
    assert [each.kind for each in applied.offers["crm"]] == ["suppress"]


def test_a_fill_makes_older_rows_unknown_and_what_was_recorded_before_it_bulk(bench: Bench) -> None:
    bench.scan()
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.apply(STATE, bench.row("h1.a", bench.last_decision))
    assert bench.apply(STATE, bench.fill(100)).fills_changed
    assert not bench.tables.is_planned(bench.tables.destinations["crm"])
    bench.scan()
    assert [each.address_key for each in bench.pending(live=False)] == ["h1.a"]
    bench.apply(LIST, ("h1.b", bench.entry("h1.b", 150)))
    assert [each.address_key for each in bench.pending()] == ["h1.b"]


@pytest.mark.long
def test_a_scan_that_was_broken_off_begins_again(bench: Bench) -> None:
    for number in range(500):
        bench.apply(LIST, (f"h1.{number}", bench.entry(f"h1.{number}", 50)))
    bench.reopen(planned("crm", fingerprint="another", purposes=Purposes(targets={"news": ("a", "b")})))
    scanner = Scanner([bench.tables])
    scanner.check()
    scanner.step()
    assert scanner.is_scanning("crm")
    bench.reopen(planned("crm", fingerprint="another", purposes=Purposes(targets={"news": ("a", "b")})))
    bench.scan()
    assert bench.tables.counts("crm") == {(True, "suppress"): 1_000}
    assert bench.tables.is_planned(bench.tables.destinations["crm"])


def test_a_bulk_restore_is_planned_by_the_scan_after_it(bench: Bench) -> None:
    bench.scan()
    bench.tables.begin_bulk()
    writes = bench.tables.store.batch()
    position = Position("id", 1)
    for topic, key, value in (
        (LIST, "h1.a", bench.entry("h1.a", 50)),
        (LIST, "h1.b", bench.entry("h1.b", 60)),
        (STATE, *bench.row("h1.b", bench.last_decision)),
        (STATE, *bench.row("h1.erased", "d")),
    ):
        bench.tables.apply_unplanned(Batch(TopicPartition(topic, 0), [Message(topic, 7, key, value)], position), writes)
    bench.tables.store.write(writes)
    bench.tables.load()
    assert bench.tables.counts("crm") == {}
    bench.scan()
    assert [each.address_key for each in bench.pending()] == ["h1.a"]
    assert [each.address_key for each in bench.pending(kind="forget", live=False)] == ["h1.erased"]


@pytest.mark.parametrize("key", [b"", b"crm", b"crm/\xff", b"\xff/k1.a", b"/k1.a", b"\xff"])
def test_a_row_under_a_key_that_is_not_ours_ends_no_scan(bench: Bench, key: bytes) -> None:  # R10
    bench.tables.begin_bulk()
    writes = bench.tables.store.batch()
    record = Message(STATE, 7, "", bench.row("h1.a", "d1")[1])
    record.key = lambda: key  # type: ignore[method-assign]
    bench.tables.apply_unplanned(Batch(TopicPartition(STATE, 0), [record], Position("id", 8)), writes)
    bench.tables.store.write(writes)
    bench.tables.load()
    bench.scan()
    assert list(bench.tables.store.scan(b"d", b"e")) == []


def test_a_target_that_cannot_be_part_of_a_key_concerns_its_address_alone(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50, purpose="a\0b")), ("h1.b", bench.entry("h1.b", 60)))
    assert bench.events.failed == ["crm"]
    assert bench.tables.counts("crm") == {(True, "record"): 1, (True, "suppress"): 1}


def test_a_record_that_is_no_entry_is_reported_once_and_pushes_nothing(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 60)[:-2]))
    assert bench.tables.counts("crm") == {}
    bench.reopen(planned("crm", fingerprint="another"))
    bench.scan()
    assert bench.reported == [1]


def unknown_schema(value: bytes) -> bytes:
    return value[:1] + b"\x7f\xff\xff\xff" + value[5:]


def foreign_schema(value: bytes) -> bytes:
    return value[:1] + FOREIGN_ID.to_bytes(4, "big") + value[5:]


def test_an_entry_of_a_schema_that_the_registry_does_not_know_becomes_a_dead_letter_after_minutes(
    bench: Bench,
) -> None:  # R10
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.apply(LIST, ("h1.a", unknown_schema(bench.entry("h1.a", 60))))
    bench.apply(LIST, ("h1.b", bench.entry("h1.b", 70)))
    assert bench.tables.counts("crm") == {(True, "record"): 1, (True, "suppress"): 2}
    assert [each.address_key for each in bench.pending()] == ["h1.b"], "another one goes out"
    assert bench.tables.without_schema == {"crm"}
    for _ in range(59):
        bench.pass_seconds(5)
        bench.tables.retry_unplanned(500)
    assert bench.reported == []
    bench.pass_seconds(5)
    bench.tables.retry_unplanned(500)
    assert bench.reported == [1]
    assert bench.tables.counts("crm") == {(True, "suppress"): 1}
    assert bench.tables.without_schema == set()


def test_an_entry_waits_for_a_registry_that_does_not_answer(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", unknown_schema(bench.entry("h1.a", 60))))
    for unavailable in (True, False):
        bench.ids.unavailable = unavailable
        for _ in range(59):
            bench.pass_seconds(5)
            bench.tables.retry_unplanned(500)
    assert bench.reported == []
    assert bench.tables.without_schema == {"crm"}


def test_a_pause_in_which_nothing_was_asked_is_no_waiting(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", unknown_schema(bench.entry("h1.a", 60))))
    bench.pass_seconds(3_600)
    bench.tables.retry_unplanned(500)
    assert bench.reported == []


def test_an_entry_that_was_just_appended_waits_however_long_others_have(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", unknown_schema(bench.entry("h1.a", 60))))
    for _ in range(58):
        bench.pass_seconds(5)
        bench.tables.retry_unplanned(500)
    bench.appended_at = bench.clock
    bench.apply(LIST, ("h1.b", unknown_schema(bench.entry("h1.b", 60))))
    for _ in range(3):
        bench.pass_seconds(5)
        bench.tables.retry_unplanned(500)
    assert bench.reported == [0]


@pytest.mark.parametrize("moment", [-1, 300_000_000_000_000_000, 2**63 - 1])
def test_a_time_that_no_calendar_holds_concerns_its_record_alone(bench: Bench, moment: int) -> None:  # R10
    good = bench.entry("h1.b", 70)
    entry = bench.codec.decode(LIST, bench.entry("h1.a", 60))
    bench.apply(LIST, ("h1.a", bench.codec.encode(LIST, {**entry, "written_at": moment})), ("h1.b", good))
    assert bench.reported == [0]
    assert bench.tables.counts("crm") == {(True, "suppress"): 1}
    row = {"target": "news", "action": "suppress", "version": moment}
    defaults = {"decision_ids": [], "in_doubt": False, "fill_began_at": 0}
    empty = dict.fromkeys(("repeat_at", "refused", "provider_reference", "delivered_at", "retry"))
    state = {"destination": "crm", "tenant": "acme", "address_key": "h1.b", "fill": None, "written_at": 0}
    value = bench.codec.encode(STATE, {**state, "targets": [{**row, **defaults, **empty}]})
    bench.apply(STATE, ("crm/h1.b", value))
    assert bench.tables.counts("crm") == {(True, "suppress"): 1}, "what it states is unknown"


def test_times_that_cannot_be_ordered_become_the_nearest_that_can() -> None:
    push = PendingPush(address_key="h1.a", target="t", kind="suppress", live=True, since=-5, not_before=2**70)
    for key, value in layout.pending_rows("crm", push):
        counted = layout.PendingKey(destination="crm", live=True, kind="suppress", target="t")
        read = layout.pending_push(counted, len(layout.pending_prefix(counted)), key, value)
        assert (read.since, read.target, read.address_key) == (0, "t", "h1.a")
    assert read.not_before == 2**63 - 1


def test_what_backs_off_is_found_by_its_time_and_is_not_in_the_way_of_others(bench: Bench) -> None:
    for number in range(100):
        key = f"h1.b{number}"
        bench.apply(LIST, (key, bench.entry(key, 10 + number)))
        bench.apply(STATE, bench.failed(key, bench.last_decision, retry_at=1_000 - number))
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 500)))
    tables = bench.reopen(planned("crm"))
    assert [each.address_key for each in bench.pending()] == ["h1.a"]
    assert [(each.address_key, each.since, each.not_before) for each in bench.due(902)] == [
        ("h1.b99", 109, 901),
        ("h1.b98", 108, 902),
    ]
    assert tables.counts("crm") == {(True, "suppress"): 101}
    assert tables.oldest("crm", live=True, kind="suppress") == 10
    bench.apply(LIST, ("h1.b99", bench.entry("h1.b99", 600)))
    assert [each.address_key for each in bench.pending()] == ["h1.b99", "h1.a"]
    assert [each.address_key for each in bench.due(902)] == ["h1.b98"]
    assert tables.counts("crm") == {(True, "suppress"): 101}


@pytest.mark.long
def test_a_refill_reads_no_more_than_it_may_return_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        key = f"h1.b{number:03}"
        bench.apply(LIST, (key, bench.entry(key, 10 + number)))
        bench.apply(STATE, bench.failed(key, bench.last_decision, retry_at=10_000 if number < 200 else 500))
    bench.apply(LIST, *((f"h1.a{number}", bench.entry(f"h1.a{number}", 250 + number)) for number in range(30)))
    reader: Any = SimpleNamespace(tables=[bench.tables], restoring=False)
    unused: Any = None
    state = TableDestinationState(
        bench.tables.destinations["crm"], reader=reader, decoder=unused, session=SenderSession(), records=unused
    )
    read: list[bytes] = []
    real = layout.pending_push
    monkeypatch.setattr(layout, "pending_push", lambda *row: read.append(row[2]) or real(*row))  # type: ignore[func-returns-value]
    rows = state.pending(live=True, kind="suppress", limit=50, due_by=600)
    assert [each.since for each in rows] == sorted([*range(210, 250), *range(250, 260), *range(250, 280)])[:50]
    assert len(read) <= 2 * 50 + 2


def test_addresses_that_are_read_together_are_as_if_read_one_by_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["h1.a", "h1.b", "h1.c", "h1.unknown"]
    for key in keys[:3]:
        bench.apply(LIST, (key, bench.entry(key, 50)))
    bench.apply(STATE, bench.row("h1.b", bench.last_decision))
    session = SenderSession()
    reader: Any = SimpleNamespace(tables=[bench.tables], restoring=False, newest_append=1)
    unused: Any = None
    state = TableDestinationState(
        bench.tables.destinations["crm"], reader=reader, decoder=bench.decoder, session=session, records=unused
    )
    alone = [state.current(key) for key in keys]
    read: list[int] = []
    get = bench.tables.store.get

    def noted(wanted: Sequence[bytes]) -> list[bytes | None]:
        read.append(len(wanted))
        return get(wanted)

    monkeypatch.setattr(bench.tables.store, "get", noted)
    with state.together(keys):
        assert [state.current(key).plan for key in keys] == [each.plan for each in alone]
        rows = {"news": DeliveredTarget(target="news", action="permit", decision_ids=("other",))}
        session.overlay.put(UndurableRow(destination="crm", address_key="h1.a", partition=0, rows=rows))
        assert state.current("h1.a").delivered == rows, "what is recorded meanwhile is seen"
        assert read == [8]
    state.current("h1.c")
    assert read == [8, 2], "nothing is kept after the block"


def test_bulk_entries_of_a_large_batch_are_planned_after_live_ones(bench: Bench) -> None:
    imported = [(f"h1.b{n}", bench.entry(f"h1.b{n}", n, bulk=True)) for n in range(PLANNED_AT_ONCE + 1)]
    assert bench.apply(LIST, *imported, bulk=True).offers == {}
    applied = bench.apply(LIST, ("h1.live", bench.entry("h1.live", 500)))
    assert [each.address_key for each in applied.offers["crm"]] == ["h1.live"]
    tables = bench.reopen(planned("crm"))
    assert tables.unplanned("sms") == len(imported), "what is to be planned survives a restart"
    assert len(tables.plan_deferred(60)["crm"]) == 60
    assert tables.unplanned("sms") == len(imported) - 60
    while tables.unplanned("sms"):
        tables.plan_deferred(60)
    assert tables.counts("crm") == {(True, "suppress"): 1, (False, "suppress"): len(imported)}


def test_entries_before_those_that_were_planned_last_are_planned_too(bench: Bench) -> None:
    for letter in "bac":
        imported = [(f"h1.{letter}{n:03}", bench.entry(f"h1.{letter}{n:03}", n, bulk=True)) for n in range(200)]
        bench.apply(LIST, *imported, bulk=True)
        bench.tables.plan_deferred(60)
    while bench.tables.unplanned("sms"):
        bench.tables.plan_deferred(60)
    assert bench.tables.counts("crm") == {(False, "suppress"): 600}


def test_a_bulk_entry_that_is_withdrawn_live_before_it_is_planned_is_live(bench: Bench) -> None:
    imported = [(f"h1.b{n}", bench.entry(f"h1.b{n}", n, bulk=True)) for n in range(PLANNED_AT_ONCE + 1)]
    bench.apply(LIST, *imported, bulk=True)
    bench.apply(LIST, ("h1.b7", bench.entry("h1.b7", 900)))
    assert [each.address_key for each in bench.pending()] == ["h1.b7"]
    while bench.tables.unplanned("sms"):
        bench.tables.plan_deferred(60)
    assert [each.address_key for each in bench.pending()] == ["h1.b7"]
    assert bench.tables.counts("crm")[False, "suppress"] == len(imported) - 1


def test_bulk_entries_of_a_small_batch_are_planned_at_once(bench: Bench) -> None:
    assert bench.apply(LIST, ("h1.a", bench.entry("h1.a", 5, bulk=True)), bulk=True).offers["crm"]
    assert bench.tables.unplanned("sms") == 0


def test_counts_follow_an_entry_that_changes_its_class_while_it_is_planned_later(bench: Bench) -> None:
    keys = [f"h1.b{n}" for n in range(PLANNED_AT_ONCE + 1)]
    for recorded_at, bulk in ((5, True), (900, False)):
        bench.apply(LIST, *((key, bench.entry(key, recorded_at, bulk=bulk)) for key in keys), bulk=True)
        while bench.tables.unplanned("sms"):
            bench.tables.plan_deferred(60)
        assert bench.tables.counts("crm") == {(not bulk, "suppress"): len(keys)}
        assert len(bench.pending(live=not bulk)) == len(keys)
        assert bench.pending(live=bulk) == []


def test_a_list_that_is_no_longer_declared_is_read_from_its_beginning_when_it_comes_back(bench: Bench) -> None:
    bench.topics = TableTopics(lists={LIST: "sms", MAIL: "email"}, state=STATE, resolved=RESOLVED)
    crm, mail = planned("crm"), planned("mail", channel="email")
    bench.reopen(crm, mail)
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50)))
    bench.apply(MAIL, ("h1.a", bench.entry("h1.a", 50)))
    bench.topics = TOPICS
    assert set(bench.reopen(crm).store.positions) == {TopicPartition(LIST, 0)}
    bench.topics = TableTopics(lists={LIST: "sms", MAIL: "email"}, state=STATE, resolved=RESOLVED)
    tables = bench.reopen(crm, mail)
    assert set(tables.store.positions) == {TopicPartition(LIST, 0)}
    assert tables.get(mail, ["h1.a"])[0].entry is None
    assert tables.get(crm, ["h1.a"])[0].entry is not None
    assert tables.counts("crm") == {(True, "suppress"): 1}


def test_rows_of_channels_that_begin_alike_are_not_mixed_up() -> None:
    ranges = list(layout.rows_of_others(b"e", ["sms", "sms-2"]))
    inside = {
        channel: any(start <= layout.entry_key(channel, "h1.a") < stop for start, stop in ranges)
        for channel in ("email", "sms", "sms-1", "sms-2", "sms-22", "sms2", "voice")
    }
    assert [channel for channel, found in inside.items() if not found] == ["sms", "sms-2"]


SECRET = b"sealed: 7d1f0c5a9e3b48268f41"


def on_disk(bench: Bench) -> bool:
    """Whether any file of the tables holds the secret."""
    return any(SECRET in file.read_bytes() for file in bench.directory.rglob("*") if file.is_file())


def store_secret(bench: Bench) -> None:
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 50, sealed=SECRET)), ("h1.b", bench.entry("h1.b", 50)))
    bench.tables.store.flush()
    assert on_disk(bench)


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("tombstone", [False, True])
def test_what_an_erasure_replaces_leaves_the_files(bench: Bench, bulk: bool, tombstone: bool) -> None:  # R33
    store_secret(bench)
    bench.apply(LIST, ("h1.b", bench.entry("h1.b", 60)), bulk=bulk)
    assert bench.tables.store.compact() == 0
    erased = None if tombstone else bench.entry("h1.a", 70, sealed=None, erased_at=70)
    bench.apply(LIST, ("h1.a", erased), bulk=bulk)
    assert bench.tables.store.compact() == 1
    until(lambda: not on_disk(bench), what="the secret has left the files")


def test_later_changes_of_an_erased_entry_are_not_compacted_again(bench: Bench) -> None:
    store_secret(bench)
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 70, sealed=None, erased_at=70)))
    assert bench.tables.store.compact() == 1
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 80, sealed=b"s", erased_at=70)))
    assert bench.tables.store.compact() == 0
    bench.apply(LIST, ("h1.a", bench.entry("h1.a", 90, sealed=None, erased_at=90)))
    assert bench.tables.store.compact() == 1


def test_an_entry_of_another_schema_counts_as_erased(bench: Bench) -> None:
    store_secret(bench)
    value = bench.entry("h1.a", 70)
    bench.apply(LIST, ("h1.a", foreign_schema(value)))
    assert bench.tables.store.compact() == 1


def test_a_bulk_restore_leaves_nothing_of_what_was_erased_since(bench: Bench) -> None:  # R33
    for number, sealed, erased_at in ((1, SECRET, None), (2, None, 70)):
        value = bench.entry("h1.a", 50, sealed=sealed, erased_at=erased_at)
        writes = bench.tables.store.batch()
        at = TopicPartition(LIST, 0)
        batch = Batch(at, [Message(LIST, number, "h1.a", value)], Position("id", number + 1))
        bench.tables.apply_unplanned(batch, writes)
        bench.tables.store.write(writes, positions={at: batch.position})
        bench.tables.store.flush()
    assert on_disk(bench)
    assert bench.tables.store.compact() == 1
    until(lambda: not on_disk(bench), what="the secret has left the files")


def test_a_list_that_is_read_no_more_leaves_the_files(bench: Bench) -> None:  # R33
    store_secret(bench)
    bench.topics = TableTopics(lists={MAIL: "email"}, state=STATE, resolved=RESOLVED)
    bench.reopen(planned("crm", channel="email"))
    assert bench.tables.store.compact() > 0
    until(lambda: not on_disk(bench), what="the secret has left the files")


@pytest.mark.parametrize("trace", [begin(sampled=True), begin(sampled=False), None])
def test_an_entry_keeps_the_trace_of_its_record_over_a_restart(bench: Bench, trace: TraceContext | None) -> None:
    value = bench.entry("h1.a", 50)
    bench.apply(LIST, ("h1.a", value), trace=trace)
    tables = bench.reopen(planned("crm"))
    [stored] = tables.get(tables.destinations["crm"], ["h1.a"])
    assert stored.entry is not None
    assert stored.entry.traceparent == (None if trace is None else str(trace))
    assert (stored.entry.value, stored.entry.offset, stored.entry.reported) == (value, 0, False)


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.binary(), st.one_of(st.none(), st.booleans()))
def test_a_stored_entry_is_read_back(offset: int, append_time: int, value: bytes, sampled: bool | None) -> None:
    traceparent = None if sampled is None else str(begin(sampled=sampled))
    stored = layout.pack_entry_fields(offset, append_time, value, traceparent)
    expected = layout.StoredEntry(offset=offset, append_time=append_time, value=value, traceparent=traceparent)
    assert layout.unpack_entry(stored) == expected
    assert layout.unpack_entry(layout.pack_reported(stored)) == structs.replace(expected, reported=True)
    assert layout.entry_value(stored) == layout.entry_value(layout.pack_reported(stored)) == value
