"""What the merge reads of the changes topics: a record that no relay has written is a dead letter, and no other."""

from typing import Any, NamedTuple

import pytest

from consent_contracts import Topics, schemas
from consent_contracts.codec import Codec
from consent_service import trace_context
from consent_service.trace_context import TraceContext, begin
from suppression.merge.rule import merge
from suppression.partition.serde import EntrySerde, traces_of

TOPICS = Topics(channels=("sms",))
KEY = "h1.q83v"
DAY = 86_400_000_000
NOW = 1_767_603_600_000_000
CHANGE: dict[str, Any] = {
    "event_id": "e1",
    "tenant": "acme",
    "channel": "sms",
    "address_key": KEY,
    "sealed_address": b"",
    "subject_ref": "ann",
    "purpose": "newsletter",
    "status": "withdrawn",
    "effective_at": NOW,
    "recorded_at": NOW,
    "expires_at": None,
    "decision_id": "d1",
    "source_system": None,
    "bulk": False,
    "rewrite": False,
    "erased_at": None,
    "remaining": [],
}
MARK: dict[str, Any] = {"resolved_at": NOW, "inbound_resolved_at": None, "loss": 0, "repaired": None}


class Ids:
    """A registry that knows our own schemas, and counts how often others are asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def id_of(self, subject: str, schema_text: str) -> int:
        return 1 + [schemas.schema_text(name) for name in schemas.RECORD_NAMES].index(schema_text)

    def schemas_of(self, subject: str) -> dict[int, str]:
        self.asked += 1
        return {}


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    timestamp: int = NOW // 1_000
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Bench:
    def __init__(self) -> None:
        self.ids = Ids()
        self.codec = Codec(self.ids)
        self.codec.prepare([TOPICS.changes])
        self.serde = EntrySerde(self.codec, TOPICS, 0)

    def change(self, **fields: Any) -> Record:
        return Record(KEY.encode(), self.codec.encode(TOPICS.changes, {**CHANGE, **fields}))

    def mark(self, **fields: Any) -> Record:
        return Record(None, self.codec.encode(TOPICS.changes, {**MARK, **fields}, "ConsentResolved"))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("moment", [NOW + DAY + 1, 300_000_000_000_000_000, 2**63 - 1])
def test_a_change_from_the_future_is_a_dead_letter(bench: Bench, moment: int) -> None:  # R10
    chunk = bench.serde.decode_changes([bench.change(recorded_at=moment), bench.change()])
    assert [(each.reason, "recorded_at" in each.error) for each in chunk.rejected] == [("invalid", True)]
    assert len(chunk.changes) == 1


def test_clocks_may_differ_and_the_append_time_may_be_unknown(bench: Bench) -> None:
    records = [bench.change(recorded_at=NOW + DAY), bench.change(recorded_at=NOW + 2 * DAY)._replace(timestamp=-1)]
    assert bench.serde.decode_changes(records).rejected == []


@pytest.mark.parametrize("fields", [{"resolved_at": -1}, {"resolved_at": 2**62}, {"loss": -1}, {"loss": 2**63 - 1}])
def test_a_statement_that_no_relay_makes_is_a_dead_letter(bench: Bench, fields: dict[str, Any]) -> None:
    chunk = bench.serde.decode_changes([bench.mark(**fields), bench.mark()])
    assert [each.reason for each in chunk.rejected] == ["invalid"]
    assert len(chunk.marks) == 1


def test_a_chunk_of_invented_schema_ids_asks_the_registry_once_for_each_subject(bench: Bench) -> None:  # R16
    invented = [Record(KEY.encode(), b"\0" + number.to_bytes(4, "big") + b"x") for number in range(1_000, 1_500)]
    chunk = bench.serde.decode_changes([*invented, bench.change()])
    assert {each.reason for each in chunk.rejected} == {"unknown_schema"}
    assert (len(chunk.rejected), len(chunk.changes)) == (500, 1)
    assert bench.ids.asked == 2


def test_an_empty_seal_is_none(bench: Bench) -> None:
    assert bench.serde.decode_changes([bench.change()]).changes[0].sealed_address is None


def traced(bench: Bench, trace: TraceContext | None, **fields: Any) -> Record:
    headers = ((trace_context.HEADER, str(trace).encode()),) if trace is not None else ()
    return bench.change(**fields)._replace(headers=headers)


def written_trace(bench: Bench, *records: Record) -> list[TraceContext | None]:
    """The trace of each entry that a chunk of these writes, by its record's header."""
    chunk = bench.serde.decode_changes(records)
    assert not chunk.rejected
    merged = merge({}, chunk.changes)
    batch = bench.serde.encode_entries(merged.entries, {}, NOW, traces=traces_of(chunk, merged.entries))
    return [trace_context.of_headers(row.headers) for row in batch.rows]


def test_an_entry_carries_the_trace_of_the_newest_decision_that_it_holds() -> None:
    bench = Bench()
    bench.codec.prepare([TOPICS.suppression("sms")])
    old, new = begin(sampled=True), begin(sampled=False)
    older = {"decision_id": "d0", "effective_at": NOW - 1, "recorded_at": NOW - 1}
    assert written_trace(bench, traced(bench, old, **older), traced(bench, new)) == [new]
    assert written_trace(bench, traced(bench, new), traced(bench, old, **older)) == [new]
    # The newest has none: that of an older decision about the same would be wrong, that of another purpose is not.
    assert written_trace(bench, traced(bench, old, **older), traced(bench, None)) == [None]
    assert written_trace(bench, traced(bench, old, purpose="survey", **older), traced(bench, None)) == [old]
    assert written_trace(bench, traced(bench, None)) == [None]


def test_a_malformed_trace_is_no_trace() -> None:
    bench = Bench()
    bench.codec.prepare([TOPICS.suppression("sms")])
    for value in (b"\xff" * 55, b"0" * 1_000, b"", None):
        record = bench.change()._replace(headers=((trace_context.HEADER, value),))
        assert written_trace(bench, record) == [None]
