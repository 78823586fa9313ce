"""One partition's merge: its state, its fenced writer, and what it does when the broker does not play along.

Everything here blocks and runs in the one thread of its partition, so that the event loop, which keeps the group
membership alive, is never held up by a chunk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from consent_contracts.codec import Codec
from consent_contracts.decisions import Entry
from consent_contracts.errors import RegistryUnavailable
from consent_contracts.topics import Topics

from .errors import Abandoned, Aborted, Fenced, Lost, Retriable, StateBroken
from .merge import Place, after_loss, merge
from .metrics import MergeMetrics
from .recovery import Recovery
from .store import Position, Store, decode_compact, is_compact
from .translation import Changes, Record, Rejected, Translation, Written, misplaced
from .writer import FencedWriter

logger = logging.getLogger(__name__)

_PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_TRIES_BEFORE_REOPENING = 5
T = TypeVar("T")


class MergePartition:
    """Open, then merge chunk after chunk, then close. `stop` may be called from any thread."""

    def __init__(
        self,
        *,
        partition: int,
        topics: Topics,
        codec: Codec,
        writer: FencedWriter,
        recovery: Recovery,
        open_store: Callable[[], Store],
        metrics: MergeMetrics,
        owned: Callable[[], bool],
        report: Callable[[bool | str], None],
        stopping: threading.Event,
    ) -> None:
        """`owned` says whether this worker surely owns the partition now; `report` takes its readiness."""
        self._partition = partition
        self._writer = writer
        self._recovery = recovery
        self._open_store = open_store
        self._metrics = metrics
        self._owned = owned
        self._report = report
        self._stopping = stopping
        self._translation = Translation(codec, topics, partition)
        self._store: Store | None = None
        self._positions: dict[str, Position] = {}
        self._foreign: list[Rejected] = []

    def open(self) -> list[Rejected]:
        """Fence every older writer, then recover; returns foreign records found on the suppression topics.

        Waits for a broker that is away. Raises Abandoned when stopped meanwhile.
        """
        self._persist(self._open_once, "opening")
        return self._take_foreign()

    def merge(self, records: Sequence[Record]) -> list[Rejected]:
        """Bring the effect of these changes into the topics. Returns the records that belong to the dead letters.

        On return the entries are committed, and a repeat of the same records changes nothing. Raises Abandoned when
        stopped before that: the records must then not be acknowledged.
        """
        began = time.perf_counter()
        chunk = self._persist(lambda: self._translation.read(records), "decoding")
        tries = 0

        def attempt() -> list[Rejected]:
            nonlocal tries
            tries += 1
            if not self._writer.is_open or tries % _TRIES_BEFORE_REOPENING == 0:
                self._open_once()
            return self._commit(chunk, began)

        rejected = self._persist(attempt, "writing")
        self._metrics.chunk_records.observe(len(records))
        return rejected + self._take_foreign()

    def stop(self) -> None:
        """Give up waiting. What is being written at this moment is still finished."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the writer and the local state."""
        self._writer.close()
        self._metrics.recovered.labels(str(self._partition)).set(0)
        if self._store is not None:
            self._store.close()
            self._store = None

    def _take_foreign(self) -> list[Rejected]:
        taken, self._foreign = self._foreign, []
        return taken

    def _persist(self, attempt: Callable[[], T], doing: str) -> T:
        """Try until it succeeds or we are stopped. Nothing is dropped; readiness says what we wait for."""
        failures, broken = 0, 0
        while True:
            try:
                result = attempt()
            except (Retriable, RegistryUnavailable) as error:
                self._metrics.retries.inc()
                wait = _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1
                logger.warning("partition %d: %s: %s; trying again", self._partition, doing, error)
                if failures >= _TRIES_BEFORE_REOPENING:
                    self._waits(f"{doing}: {error}")
                if self._stopping.wait(wait):
                    raise Abandoned(f"stopped while {doing}") from error
            except Fenced as error:
                self._metrics.fenced.inc()
                logger.error("partition %d: %s: %s", self._partition, doing, error)
                self._await_ownership()
            except StateBroken as error:
                broken += 1
                if broken > 1:
                    raise
                logger.error("partition %d: %s: %s; rebuilding it from the topics", self._partition, doing, error)
                self._discard_state()
            else:
                self._report(True)
                self._metrics.recovered.labels(str(self._partition)).set(1)
                return result

    def _await_ownership(self) -> None:
        """A fenced writer may be that of a zombie: taking the partition back would fence the rightful owner.

        Only who surely owns the partition, confirmed by the broker within the session timeout, goes on (its
        transaction has timed out, say). A zombie is never confirmed: it learns that the partition is gone, the
        transport closes us, and we end here.
        """
        self._waits("fenced: waiting to hear who owns the partition")
        while not self._owned():
            if self._stopping.wait(0.1):
                raise Abandoned("fenced, and the partition is gone")

    def _waits(self, reason: str) -> None:
        self._report(reason)
        self._metrics.recovered.labels(str(self._partition)).set(0)

    def _discard_state(self) -> None:
        self._writer.close()  # So that the next attempt begins with a recovery.
        if self._store is not None:
            self._store.discard()
            self._store = None

    def _open_once(self) -> None:
        self._waits("recovering")
        self._writer.open()
        self._metrics.writers_opened.inc()
        if self._store is None:
            self._store = self._open_store()
        recovered = self._recovery.run(self._store)
        self._positions = recovered.positions
        self._foreign += (Rejected(record, wrong.reason, str(wrong)) for record, wrong in recovered.foreign)
        self._metrics.recovery_seconds.observe(recovered.seconds)
        self._metrics.recovered_records.inc(recovered.records)
        self._metrics.foreign_entries.inc(len(recovered.foreign))
        logger.info(
            "partition %d recovered: %d records in %.2f s", self._partition, recovered.records, recovered.seconds
        )

    def _commit(self, chunk: Changes, began: float) -> list[Rejected]:
        now = time.time_ns() // 1000
        standing = self._standing(chunk.changes, now)
        merged = merge(standing, chunk.changes)
        rejected = [*chunk.rejected, *(misplaced(chunk.sources[position]) for position in merged.misplaced)]
        written = self._translation.written(merged.entries, standing, now)
        self._metrics.merge_seconds.observe(time.perf_counter() - began)
        if written.rows:
            self._write(written)
        self._metrics.fitted_entries.inc(written.fitted)
        count = self._metrics.records.labels
        count("unchanged").inc(merged.unchanged)
        count("rejected").inc(len(rejected))
        count("merged").inc(max(0, len(chunk.changes) + len(chunk.rejected) - merged.unchanged - len(rejected)))
        return rejected

    def _standing(self, changes: Sequence[Entry], now: int) -> dict[Place, Entry]:
        assert self._store is not None
        first_of_place: dict[Place, Entry] = {}
        for change in changes:
            first_of_place.setdefault((change.channel, change.address_key), change)
        found = self._store.get(first_of_place)
        standing = {}
        for (place, change), data in zip(first_of_place.items(), found, strict=True):
            if data is not None:
                standing[place] = decode_compact(data) if is_compact(data) else self._recovered(change, data, now)
        return standing

    def _recovered(self, change: Entry, data: bytes, now: int) -> Entry:
        """An entry as it came from the topic: decoded when it is first needed."""
        try:
            return self._translation.standing(change, data)
        except Lost as lost:
            self._metrics.unreadable_entries.inc()
            logger.error("partition %d: a standing entry is lost (%s): its permissions are void", self._partition, lost)
            return after_loss(change, lost=data, now=now)

    def _write(self, written: Written) -> None:
        assert self._store is not None
        began = time.perf_counter()
        try:
            ends = self._writer.write(written.rows)
        except Aborted:
            self._metrics.aborted.inc()
            raise
        self._metrics.transaction_seconds.observe(time.perf_counter() - began)
        for topic, end in ends.items():
            self._positions[topic] = Position(self._positions[topic].topic_id, end)
        # Only now: a store that is ahead of an aborted transaction would take a revocation for written.
        self._store.write(written.entries, self._recovery.checkpoint(self._positions))
        for channel, topic in self._translation.topic_of.items():
            self._metrics.entries_written.labels(channel).inc(sum(1 for row in written.rows if row.topic == topic))
