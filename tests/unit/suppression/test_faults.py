"""What a partition's merge does when the broker, the registry or its own disk fails (R43)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from consent_contracts import Codec, Topics
from consent_contracts import schemas as contracts
from consent_contracts.codec import ConfluentRegistry
from consent_contracts.topics import record_names, subject
from consent_service.retry import Backoff
from consent_state import (
    Position,
    Rebuild,
    StateStore,
    StateStoreCorruptedError,
    StateStoreUnavailableError,
    TopicPartition,
)
from suppression.errors import RetriableError, StoppedError, TransactionAbortedError, WriterFencedError
from suppression.merge.expiry import NEXT_EXPIRY, read_next_expiry
from suppression.metrics import MergeMetrics
from suppression.partition.merge_partition import MergePartition
from suppression.partition.restore import RestoreResult
from suppression.partition.store import EntryStore, put_row
from suppression.partition.writer import Row
from tests.support.waiting import until

TOPICS = Topics(prefix="faults.")
PLACE = ("sms", "k1.a")


class Change(NamedTuple):
    key: bytes
    value: bytes
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


class FakeWriter:
    """Takes rows, or fails as configured, one failure a call."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.rows: list[Row] = []
        self.opened = 0
        self.is_open = False

    def open(self) -> None:
        self.opened += 1
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def write(self, rows: Sequence[Row]) -> dict[str, int]:
        if self.failures:
            failure = self.failures.pop(0)
            self.is_open = not isinstance(failure, WriterFencedError)
            raise failure
        self.rows += rows
        return {row.topic: len(self.rows) for row in rows}


class FakeRestorer:
    """Finds in the topics what the writer has committed; fails as configured, one failure a call."""

    def __init__(self, committed: Sequence[Row]) -> None:
        self.committed = committed
        self.failures: list[Exception] = []
        self.waits_for: list[str] = []

    def restore(self, store: EntryStore, *, waiting: Callable[[str], None], beat: Callable[[], None]) -> RestoreResult:
        for reason in self.waits_for:
            waiting(reason)
        if self.failures:
            raise self.failures.pop(0)
        batch = store.state.batch()
        for row in self.committed:
            put_row(batch, b"sms\0" + row.key, row.value, read_next_expiry(row.headers))
        ends = {TopicPartition(TOPICS.suppression(channel), 0): Position("id", 0) for channel in TOPICS.channels}
        store.state.write(batch, positions=ends)
        return RestoreResult(records=0, seconds=0.0)


class NoPauses(threading.Event):
    """A wait with a timeout is over at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(None if timeout is None else 0)


class Bench:
    """One partition over fakes and a real store."""

    def __init__(self, directory: Path) -> None:
        registry = ConfluentRegistry(f"mock://{directory.name}")
        for topic in (TOPICS.changes, *map(TOPICS.suppression, TOPICS.channels)):
            for name in record_names(topic):
                registry.register(subject(topic, name), contracts.schema_text(name))
        self.codec = Codec(registry)
        self.writer = FakeWriter()
        self.restorer = FakeRestorer(self.writer.rows)
        self.stopping = NoPauses()
        self.reports: list[bool | str] = []
        self.owned = True
        self.now = 1_000
        self.stores: list[EntryStore] = []
        self.registry = CollectorRegistry()
        self.metrics = MergeMetrics.on(self.registry)
        self.merging = MergePartition(
            partition=0,
            topics=TOPICS,
            codec=self.codec,
            writer=self.writer,  # type: ignore[arg-type]
            restorer=self.restorer,  # type: ignore[arg-type]
            open_store=lambda: self._open(directory / "0"),
            metrics=self.metrics,
            owned=lambda: self.owned,
            report=self.reports.append,
            beat=lambda: None,
            stopping=self.stopping,
            clock=lambda: self.now,
        )
        self.merging.open()

    def _open(self, path: Path) -> EntryStore:
        def count(rebuild: Rebuild) -> None:
            self.metrics.state_rebuilds.labels(rebuild.reason).inc()

        self.stores.append(EntryStore.open(path, partitions=4, on_rebuild=count))
        return self.stores[-1]

    def rebuilds(self, reason: str) -> float:
        return self.registry.get_sample_value("consent_relay_suppression_state_rebuilds_total", {"reason": reason}) or 0

    def change(self, decision_id: str = "d1", **fields: Any) -> Change:
        datum = {
            "event_id": "e1",
            "tenant": "acme",
            "channel": "sms",
            "address_key": "k1.a",
            "sealed_address": None,
            "subject_ref": "ann",
            "purpose": "newsletter",
            "status": "withdrawn",
            "effective_at": 10,
            "recorded_at": 10,
            "expires_at": None,
            "decision_id": decision_id,
            "source_system": None,
            **fields,
        }
        return Change(b"k1.a", self.codec.encode(TOPICS.changes, datum))

    def stored(self) -> bytes | None:
        held = self.stores[-1].get([PLACE])[0]
        return None if held is None else held.data


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("suppression.partition.merge_partition.BACKOFF", Backoff((0.001,)))
    made = Bench(tmp_path / "state")
    yield made
    made.merging.close()


def test_aborted_transaction_is_tried_again_and_written_once(bench: Bench) -> None:
    bench.writer.failures = [TransactionAbortedError("aborted"), TransactionAbortedError("aborted")]
    assert bench.merging.merge([bench.change()]).rejected == []
    assert len(bench.writer.rows) == 1
    assert bench.writer.opened == 1
    assert bench.stored() is not None


def test_after_several_failures_the_writer_is_opened_again(bench: Bench) -> None:
    bench.writer.failures = [TransactionAbortedError("aborted") for _ in range(6)]
    bench.merging.merge([bench.change()])
    assert bench.writer.opened == 2
    assert len(bench.writer.rows) == 1


def test_broker_that_stays_unavailable_makes_it_not_ready_and_loses_nothing(bench: Bench) -> None:
    bench.writer.failures = [RetriableError("no answer") for _ in range(12)]
    bench.merging.merge([bench.change()])
    assert "writing: no answer" in bench.reports
    assert bench.reports[-1] is True
    assert len(bench.writer.rows) == 1


@pytest.mark.long
def test_state_is_not_ahead_of_a_transaction_that_never_came_about(bench: Bench) -> None:
    bench.writer.failures = [TransactionAbortedError("aborted") for _ in range(100_000)]
    outcome: list[Exception] = []

    def merge() -> None:
        try:
            bench.merging.merge([bench.change()])
        except StoppedError as abandoned:
            outcome.append(abandoned)

    thread = threading.Thread(target=merge)
    thread.start()
    until(lambda: len(bench.writer.failures) < 99_990)
    bench.merging.stop()
    thread.join(10)
    assert outcome
    assert bench.stored() is None


@pytest.mark.long
def test_fenced_worker_that_may_be_a_zombie_takes_nothing_back(bench: Bench) -> None:
    bench.owned = False
    bench.writer.failures = [WriterFencedError("fenced")]
    outcome: list[Exception] = []

    def merge() -> None:
        try:
            bench.merging.merge([bench.change()])
        except StoppedError as abandoned:
            outcome.append(abandoned)

    thread = threading.Thread(target=merge)
    thread.start()
    until(lambda: any("fenced" in str(report) for report in bench.reports))
    bench.merging.stop()
    thread.join(10)
    assert outcome
    assert bench.writer.opened == 1
    assert bench.writer.rows == []


def test_fenced_owner_opens_a_new_writer_and_goes_on(bench: Bench) -> None:
    bench.writer.failures = [WriterFencedError("the transaction timed out")]
    bench.merging.merge([bench.change()])
    assert bench.writer.opened == 2
    assert len(bench.writer.rows) == 1


def corrupt_reads(monkeypatch: pytest.MonkeyPatch, failures: list[Exception]) -> None:
    read = StateStore.get

    def get(store: StateStore, keys: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(store, keys)

    monkeypatch.setattr(StateStore, "get", get)


def test_damaged_state_is_restored_however_often(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Exception] = [StateStoreCorruptedError("checksum mismatch")]
    corrupt_reads(monkeypatch, failures)
    bench.merging.merge([bench.change()])
    assert bench.writer.opened == 2
    failures += [StateStoreCorruptedError("checksum mismatch") for _ in range(3)]
    bench.merging.merge([bench.change("d2")])
    assert bench.writer.opened == 5
    assert len(bench.writer.rows) == 2
    assert bench.rebuilds("corrupted") == 4
    assert "restoring: the local state is damaged" in bench.reports
    assert bench.reports[-1] is True


@pytest.mark.long
def test_directory_that_cannot_be_created_ends_the_process(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupt_reads(monkeypatch, [StateStoreCorruptedError("input/output error")])
    (tmp_path / "state").rename(tmp_path / "moved")
    (tmp_path / "state").touch()
    with pytest.raises(StateStoreUnavailableError):
        bench.merging.merge([bench.change()])


def test_readiness_names_what_a_restore_waits_for(bench: Bench) -> None:
    bench.restorer.waits_for = ["waiting for an open transaction on t:0 (last stable offset 1, high watermark 2)"]
    bench.writer.failures = [WriterFencedError("timed out")]
    bench.merging.merge([bench.change()])
    reason = "restoring: waiting for an open transaction on t:0 (last stable offset 1, high watermark 2)"
    assert reason in bench.reports
    assert bench.reports[-1] is True


def given_until(bench: Bench, expires_at: int, purpose: str = "newsletter", at: int = 10) -> Change:
    return bench.change(
        purpose, status="given", purpose=purpose, expires_at=expires_at, effective_at=at, recorded_at=at
    )


def test_permission_that_ends_is_written_again_once_and_then_the_next(bench: Bench) -> None:  # R37
    bench.merging.merge([given_until(bench, 2_000), given_until(bench, 5_000, "survey")])
    written = bench.writer.rows
    assert (NEXT_EXPIRY, b"2000") in written[0].headers
    for now, rows in ((1_999, 1), (2_000, 2), (2_001, 2), (4_999, 2), (6_000, 3), (9_000, 3)):
        bench.now = now
        assert bench.merging.expire_permissions() is False
        assert len(written) == rows, now
    assert (NEXT_EXPIRY, b"5000") in written[1].headers
    assert NEXT_EXPIRY not in dict(written[2].headers)
    first, *again = (bench.codec.decode(row.topic, row.value) for row in written)
    assert [each["written_at"] for each in again] == [2_000, 6_000]
    assert all(each["decisions"] == first["decisions"] for each in again)


def test_a_permission_ends_in_time_on_a_host_whose_clock_is_an_hour_behind(bench: Bench) -> None:  # R37, R63
    true = 1_790_000_000_000_000
    bench.now = true - 3_600_000_000
    bench.merging.merge([given_until(bench, true - 60_000_000)])
    bench.merging.expire_permissions()
    assert len(bench.writer.rows) == 1
    resolved = {"resolved_at": true - 1_000_000, "inbound_resolved_at": None, "loss": 0, "repaired": None}
    mark = Change(b"", bench.codec.encode(TOPICS.changes, resolved, "ConsentResolved"), timestamp=true // 1_000)
    bench.merging.merge([mark])
    bench.merging.expire_permissions()
    _, again = (bench.codec.decode(row.topic, row.value) for row in bench.writer.rows)
    assert again["written_at"] >= true - 1_000_000, "by which the propagator judges it, whatever its own clock"


def test_permission_taken_back_or_prolonged_before_its_end_is_not_due_then(bench: Bench) -> None:
    bench.merging.merge([given_until(bench, 2_000), given_until(bench, 2_000, "survey")])
    bench.merging.merge([bench.change("d2", effective_at=20, recorded_at=20)])
    bench.merging.merge([given_until(bench, 4_000, "survey", at=20)])
    bench.now = 3_000
    bench.merging.expire_permissions()
    assert len(bench.writer.rows) == 3
    bench.now = 4_000
    bench.merging.expire_permissions()
    assert len(bench.writer.rows) == 4


def test_many_that_end_at_once_are_written_in_portions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suppression.partition.merge_partition.EXPIRY_BATCH", 2)
    many = [
        Change(f"k1.{n}".encode(), given_until(bench, 2_000 + n).value.replace(b"k1.a", b"k1.%d" % n)) for n in range(5)
    ]
    assert bench.merging.merge(many).rejected == []
    bench.now = 3_000
    assert [bench.merging.expire_permissions() for _ in range(3)] == [True, True, False]
    assert [row.key for row in bench.writer.rows[5:]] == [change.key for change in many]


def test_aborted_end_is_written_again(bench: Bench) -> None:
    bench.merging.merge([given_until(bench, 2_000)])
    bench.now = 2_000
    bench.writer.failures = [TransactionAbortedError("aborted"), WriterFencedError("timed out")]
    bench.merging.expire_permissions()
    bench.merging.expire_permissions()
    assert len(bench.writer.rows) == 2
    assert bench.registry.get_sample_value("consent_relay_suppression_ended_permissions_total") == 1


def test_a_failed_restore_is_repeated_before_anything_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.merging.merge([bench.change("d1", subject_ref="bob", status="withdrawn")]).rejected == []
    # The disk reports an error, the state is cleared, and the broker does not answer the first restore.
    corrupt_reads(monkeypatch, [StateStoreCorruptedError("disk")])
    bench.restorer.failures = [RetriableError("describing the suppression topics: no answer")]
    bench.merging.merge(
        [bench.change("d2", subject_ref="ann", status="given", effective_at=9_000_000, recorded_at=9_000_000)]
    )
    last = bench.codec.decode(TOPICS.suppression("sms"), bench.writer.rows[-1].value)
    assert {d["subject_ref"] for d in last["decisions"]} == {"ann", "bob"}, "bob's withdrawal is gone from the list"
    assert not last["verdicts"]["newsletter"]["permitted"]
