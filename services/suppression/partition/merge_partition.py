"""One partition's merge: its state, its fenced writer, and what it does when the broker does not play along.

Everything here blocks and runs in the one thread of its partition, so that the event loop, which keeps the group
membership alive, is never held up by a chunk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry
from consent_contracts.errors import RegistryUnavailableError
from consent_contracts.topics import Topics
from consent_service import spans, trace_context
from consent_service.clock import now_micros
from consent_service.errors import RetryStoppedError
from consent_service.retry import Backoff, Failure, retry
from consent_state import Position, Rebuild, RebuildReason, StateStoreCorruptedError, TopicPartition
from suppression.errors import (
    EntryUnreadableError,
    RetriableError,
    StoppedError,
    TopicsChangedError,
    TransactionAbortedError,
    WriterFencedError,
)
from suppression.merge.lanes import Lane
from suppression.merge.record_clock import RecordClock
from suppression.merge.rule import EntryKey, fail_closed_entry, merge, newly_erased
from suppression.merge.seals import SealRank, any_seal
from suppression.metrics import MergeMetrics
from suppression.partition.restore import StateRestorer
from suppression.partition.serde import (
    ChangeRecord,
    DecodedChanges,
    EntrySerde,
    OutputBatch,
    Rejected,
    tenant_mismatch,
    traces_of,
)
from suppression.partition.store import EntryStore, decode_compact, is_compact
from suppression.partition.writer import FencedWriter
from suppression.resolved.list_state import ResolvedMark

log = logging.getLogger(__name__)

BACKOFF = Backoff((0.05, 0.1, 0.25, 0.5, 1.0, 2.0))
_FAILURES_UNTIL_REPORTED = 5
"""So many in a row make the partition not ready; a writer is given up then, and again after as many more."""
EXPIRY_BATCH = 250
"""Entries written again in one transaction, so that changes need not wait long for their turn."""

_RETRIED = (RetriableError, RegistryUnavailableError, StateStoreCorruptedError)

T = TypeVar("T")


class MergeOutcome(NamedTuple):
    """What merging records came to: which belong to the dead letters, and what the relay states among them.

    `ends` are the offsets after the last entries written to the suppression topics that this worker has written to.
    """

    rejected: list[Rejected]
    marks: list[ResolvedMark]
    ends: Mapping[str, int]


class MergePartition:
    """Open, then merge chunk after chunk, then close. `stop` may be called from any thread."""

    def __init__(
        self,
        *,
        partition: int,
        topics: Topics,
        codec: Codec,
        writer: FencedWriter,
        restorer: StateRestorer,
        open_store: Callable[[], EntryStore],
        metrics: MergeMetrics,
        owned: Callable[[], bool],
        report: Callable[[bool | str], None],
        beat: Callable[[], None],
        stopping: threading.Event,
        clock: Callable[[], int] = now_micros,
        seal_rank: SealRank = any_seal,
    ) -> None:
        """`owned` returns whether this worker surely owns the partition now; `report` takes its readiness. `beat` is
        called by the thread that opens or merges while it goes on, waits or tries again.

        `clock` gives microseconds since the epoch.
        """
        self._partition = partition
        self._writer = writer
        self._restorer = restorer
        self._open_store = open_store
        self._metrics = metrics
        self._owned = owned
        self._report = report
        self._beat = beat
        self._stopping = stopping
        self._seal_rank = seal_rank
        self._clock = RecordClock(clock)
        self._serde = EntrySerde(codec, topics, partition)
        self._store: EntryStore | None = None
        self._unrecognised: list[Rejected] = []
        self._ends: Mapping[str, int] = {}

    def open(self) -> list[Rejected]:
        """Fence every older writer, then restore; returns unrecognised records of the suppression topics.

        Waits for a broker that is unavailable. Raises StoppedError when stopped meanwhile.
        """
        self._retry_until_stopped(self._open_once, "opening")
        return self._take_unrecognised()

    def restore_again(self) -> list[Rejected]:
        """As `open`, with nothing of the local state: the lists have lost entries, which must be written again although
        the merge has seen them before."""
        self._clear_state(Rebuild(RebuildReason.OUT_OF_RANGE, "the suppression topics are new or have lost entries"))
        return self.open()

    def merge(self, records: Sequence[ChangeRecord], lane: Lane = Lane.LIVE) -> MergeOutcome:
        """Bring the effect of these records of one lane into the topics.

        On return the entries are committed, and a repeat of the same records changes nothing. Raises StoppedError when
        stopped before that: the records must then not be acknowledged. Raises TopicsChangedError.
        """
        chunk = self._retry_until_stopped(lambda: self._serde.decode_changes(records), "decoding")
        if lane is Lane.LIVE:
            self._observe_clocks(records[-1], chunk.marks)
        rejected = self._write_until_stopped(lambda: self._commit(chunk, lane), "writing")
        self._metrics.chunk_records.observe(len(records))
        return MergeOutcome(rejected + self._take_unrecognised(), chunk.marks, self._ends)

    def expire_permissions(self) -> bool:
        """Write the entries again in which a permission has ended meanwhile. Whether there may be more of them.

        A crash in between is harmless: they are written once more. Raises StoppedError when stopped.
        """
        return self._write_until_stopped(self._expire_permissions, "ending permissions")

    def stop(self) -> None:
        """Give up waiting. What is being written at this moment is still finished."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the writer and the local state."""
        self._writer.close()
        self._metrics.ready.labels(str(self._partition)).set(0)
        if self._store is not None:
            self._store.state.close()
            self._store = None

    def _take_unrecognised(self) -> list[Rejected]:
        taken, self._unrecognised = self._unrecognised, []
        return taken

    def _write_until_stopped(self, write: Callable[[], T], doing: str) -> T:
        """`_retry_until_stopped` with an open writer; one that keeps failing is opened again and the state restored."""

        def write_with_open_writer() -> T:
            if not self._writer.is_open:
                self._open_once()
            return write()

        return self._retry_until_stopped(write_with_open_writer, doing, give_up=self._writer.close)

    def _retry_until_stopped(
        self, attempt: Callable[[], T], doing: str, *, give_up: Callable[[], None] = lambda: None
    ) -> T:
        """Repeat `attempt` until it succeeds or `stop` is called. Nothing is dropped; readiness names the cause.
        `give_up` lets go of what `attempt` uses, where it keeps failing."""

        def report(failure: Failure[Exception]) -> None:
            self._report_failure(failure, doing)
            if failure.count % _FAILURES_UNTIL_REPORTED == 0:
                give_up()

        try:
            result = retry(
                lambda: self._attempt(attempt, doing), on=_RETRIED, backoff=BACKOFF, stop=self._stopping, report=report
            )
        except RetryStoppedError:
            raise StoppedError(f"stopped while {doing}") from None
        self._report(True)
        self._metrics.ready.labels(str(self._partition)).set(1)
        return result

    def _attempt(self, attempt: Callable[[], T], doing: str) -> T:
        while True:
            self._beat()
            try:
                return attempt()
            except WriterFencedError as error:
                self._metrics.fenced.inc()
                self._log_failure(logging.ERROR, doing, error)
                self._await_ownership()
            except StateStoreCorruptedError as error:
                # However often: the topics hold everything, and a worker that exits would restore it all the same.
                self._clear_state(Rebuild(RebuildReason.CORRUPTED, str(error)))
                raise

    def _report_failure(self, failure: Failure[Exception], doing: str) -> None:
        if isinstance(failure.error, StateStoreCorruptedError):
            self._log_failure(logging.ERROR, doing, failure.error)
            self._not_ready("restoring: the local state is damaged")
            return
        self._metrics.retries.inc()
        self._log_failure(logging.WARNING, doing, failure.error)
        if failure.count >= _FAILURES_UNTIL_REPORTED:
            self._not_ready(f"{doing}: {failure.error}")

    def _log_failure(self, level: int, doing: str, error: Exception) -> None:
        log.log(
            level,
            "a step of the merge failed; trying again",
            extra={"partition": self._partition, "step": doing, "error": str(error)},
        )

    def _observe_clocks(self, last: ChangeRecord, marks: Sequence[ResolvedMark]) -> None:
        if last.timestamp > 0:  # Kafka's word for "none" is -1.
            self._clock.observe(last.timestamp * 1_000, marks[-1].resolved_at if marks else None)

    def _await_ownership(self) -> None:
        """A fenced writer may be that of a zombie: taking the partition back would fence the rightful owner.

        Only who surely owns the partition, confirmed by the broker within the session timeout, goes on (its
        transaction has timed out, say). A zombie is never confirmed: it learns that the partition is gone, the
        transport closes us, and we end here.
        """
        self._not_ready("fenced: waiting to hear who owns the partition")
        while not self._owned():
            self._beat()
            if self._stopping.wait(0.1):
                raise StoppedError("fenced, and the partition is gone")

    def _not_ready(self, reason: str) -> None:
        self._report(reason)
        self._metrics.ready.labels(str(self._partition)).set(0)

    def _clear_state(self, rebuild: Rebuild) -> None:
        self._writer.close()  # So that the next attempt begins with a restore.
        if self._store is not None:
            self._store.state.clear(rebuild)

    def _open_once(self) -> None:
        self._not_ready("restoring")
        self._writer.open()
        self._metrics.writers_opened.inc()
        try:
            if self._store is None:
                self._store = self._open_store()
            restored = self._restorer.restore(self._store, waiting=self._restore_waits, beat=self._beat)
        except BaseException:
            # An open writer means a restored state: else the next attempt would write over what it has not read.
            self._writer.close()
            raise
        self._unrecognised += (Rejected(record, wrong.reason, str(wrong)) for record, wrong in restored.unrecognised)
        self._metrics.restore_seconds.observe(restored.seconds)
        self._metrics.restored_records.inc(restored.records)
        self._metrics.unrecognised_records.inc(len(restored.unrecognised))
        log.info(
            "partition restored",
            extra={
                "partition": self._partition,
                "records": restored.records,
                "seconds": round(restored.seconds, 2),
            },
        )

    def _restore_waits(self, reason: str) -> None:
        log.warning("restoring a partition again", extra={"partition": self._partition, "reason": str(reason)})
        self._not_ready(f"restoring: {reason}")

    def _commit(self, chunk: DecodedChanges, lane: Lane) -> list[Rejected]:
        start = spans.now()
        with self._metrics.merge_seconds.time():
            now = self._clock()
            current, was_due, lost = self._load_current(chunk.changes, now)
            # What cannot be read is replaced even by a change that adds nothing: it may hold what was erased.
            replaced = {at for at, each in enumerate(chunk.changes) if (each.channel, each.address_key) in lost}
            merged = merge(current, chunk.changes, rewrites=chunk.rewrites | replaced, rank=self._seal_rank)
            traces = traces_of(chunk, merged.entries)
            written = self._serde.encode_entries(
                merged.entries, current, now, bulk=lane is Lane.BULK, rewrites=merged.rewrites, traces=traces
            )
        if written.rows:
            # Of one that cannot be read no erasure is known.
            known = {key: entry for key, entry in current.items() if key not in lost}
            self._write(written, was_due, newly_erased(written.entries, known))
            if spans.is_on():
                attributes = {"consent_relay.partition": self._partition, "consent_relay.lane": lane.value}
                for trace in map(trace_context.parse, traces.values()):
                    spans.end_child("merge", trace, start=start, kind="consumer", attributes=attributes)
        mismatches = [tenant_mismatch(chunk.sources[position]) for position in merged.tenant_mismatches]
        rejected = [*chunk.rejected, *mismatches]
        self._metrics.truncated_entries.inc(written.truncated)
        count = self._metrics.records.labels
        count("merged", lane).inc(merged.joined)
        count("unchanged", lane).inc(merged.unchanged)
        count("rejected", lane).inc(len(rejected))
        return rejected

    def _load_current(
        self, changes: Sequence[AddressEntry], now: int
    ) -> tuple[dict[EntryKey, AddressEntry], dict[EntryKey, int], set[EntryKey]]:
        """The stored entries of the changes' keys, their expiry times, and which of them cannot be read."""
        assert self._store is not None
        first_of_place: dict[EntryKey, AddressEntry] = {}
        for change in changes:
            first_of_place.setdefault((change.channel, change.address_key), change)
        found = self._store.get(first_of_place)
        current, was_due, lost = {}, {}, set()
        for (place, change), held in zip(first_of_place.items(), found, strict=True):
            if held is None:
                continue
            if held.due is not None:
                was_due[place] = held.due
            entry = self._decoded(place, held.data)
            if entry is None:
                lost.add(place)
                entry = fail_closed_entry(change, lost=held.data, now=now)
            current[place] = entry
        return current, was_due, lost

    def _decoded(self, place: EntryKey, data: bytes) -> AddressEntry | None:
        """An entry, decoded when it is first needed; None when it cannot be read."""
        if is_compact(data):
            return decode_compact(data)
        try:
            return self._serde.decode_entry(place, data)
        except EntryUnreadableError as lost:
            self._metrics.unreadable_entries.inc()
            log.error(
                "a stored entry cannot be read: its permissions are void",
                extra={"partition": self._partition, "error": str(lost)},
            )
            return None

    def _expire_permissions(self) -> bool:
        assert self._store is not None
        now = self._clock()
        dates = self._store.expiring_before(now, EXPIRY_BATCH)
        ended: dict[EntryKey, AddressEntry] = {}
        none: list[tuple[int, EntryKey]] = []
        for (date, place), held in zip(dates, self._store.get(place for _, place in dates), strict=True):
            entry = self._decoded(place, held.data) if held is not None and held.due == date else None
            if entry is None:
                none.append((date, place))  # Overwritten during restore, erased, or unreadable.
            else:
                ended[place] = entry
        if ended:
            written = self._serde.encode_entries(ended, {}, now, bulk=True)
            self._write(written, {place: date for date, place in dates if place in ended})
            self._metrics.ended_permissions.inc(len(ended))
        if none:
            self._store.remove_expiry(none)
        return len(dates) == EXPIRY_BATCH

    def _write(self, written: OutputBatch, was_due: Mapping[EntryKey, int], erased: Collection[EntryKey] = ()) -> None:
        assert self._store is not None
        began = time.perf_counter()
        try:
            ends = self._writer.write(written.rows)
        except TransactionAbortedError:
            self._metrics.aborted.inc()
            raise
        self._metrics.transaction_seconds.observe(time.perf_counter() - began)
        self._ends = {**self._ends, **ends}
        # Only now: a store that holds an aborted transaction would take a revocation for written.
        self._store.write(written.entries, self._after(ends), due=written.due, was_due=was_due, erased=erased)
        for channel, topic in self._serde.topic_of.items():
            self._metrics.entries_written.labels(channel).inc(sum(1 for row in written.rows if row.topic == topic))

    def _after(self, ends: Mapping[str, int]) -> dict[TopicPartition, Position]:
        """The positions after a committed transaction; `ends` is the offset after its last record, by topic."""
        assert self._store is not None
        known = self._store.state.positions
        written = {TopicPartition(topic, self._partition): end for topic, end in ends.items()}
        for at, end in written.items():
            if end <= known[at].offset:
                # Stored positions that fit the topic would keep entries that it has lost.
                raise TopicsChangedError(f"{at} ends at {end} after it was read up to {known[at].offset}")
        return {at: Position(known[at].topic_id, end) for at, end in written.items()}
