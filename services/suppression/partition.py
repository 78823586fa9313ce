"""One partition's merge: its state, its fenced writer, and what it does when the broker does not play along.

Everything here blocks and runs in the one thread of its partition, so that the event loop, which keeps the group
membership alive, is never held up by a chunk.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from consent_contracts import cloudevents
from consent_contracts.codec import Codec
from consent_contracts.decisions import Entry
from consent_contracts.errors import InvalidRecord, RegistryUnavailable, Unreadable
from consent_contracts.records import entry_of, entry_of_change, suppression_datum
from consent_contracts.schemas import NAMESPACE
from consent_contracts.topics import Topics

from .errors import Abandoned, Aborted, Fenced, Retriable, StateBroken
from .merge import Place, after_loss, merge
from .metrics import MergeMetrics
from .recovery import Recovery
from .store import Position, Store, decode_compact, is_compact
from .writer import FencedWriter, Row

logger = logging.getLogger(__name__)

_PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_TRIES_BEFORE_REOPENING = 5
MAX_ENTRY_BYTES = 900_000
"""Brokers take 1 MiB by default, headers included. An entry that large holds thousands of decisions."""

_EVENT_TYPE = f"{NAMESPACE}.SuppressionEntry"

T = TypeVar("T")


class Record(Protocol):
    """What is read of a change; the transport's records have it."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Rejected(NamedTuple):
    """A record for the dead letters, and why."""

    record: Any
    reason: str
    error: str


@dataclass(kw_only=True, slots=True)
class _Chunk:
    changes: list[Entry] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


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
        self._codec = codec
        self._writer = writer
        self._recovery = recovery
        self._open_store = open_store
        self._metrics = metrics
        self._owned = owned
        self._report = report
        self._stopping = stopping
        self._changes_topic = topics.changes
        self._topic_of: Mapping[str, str] = {channel: topics.suppression(channel) for channel in topics.channels}
        self._source = f"/consent-relay/suppression/{partition}"
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
        chunk = self._persist(lambda: self._read(records), "decoding")
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

    def _read(self, records: Sequence[Record]) -> _Chunk:
        chunk = _Chunk()
        decode, topic, channels = self._codec.decode, self._changes_topic, self._topic_of
        for record in records:
            try:
                change = entry_of_change(decode(topic, record.value))
                if change.channel not in channels:
                    raise InvalidRecord("channel", f"is none of {', '.join(channels)}")
                if record.key != change.address_key.encode():
                    raise InvalidRecord("address_key", "must be the record's key")
            except (Unreadable, InvalidRecord) as error:
                chunk.rejected.append(Rejected(record, error.reason, str(error)))
            else:
                chunk.changes.append(change)
                chunk.sources.append(record)
        return chunk

    def _commit(self, chunk: _Chunk, began: float) -> list[Rejected]:
        now = time.time_ns() // 1000
        merged = merge(self._standing(chunk.changes, now), chunk.changes)
        rejected = [*chunk.rejected, *(_misplaced(chunk.sources[position]) for position in merged.misplaced)]
        rows, too_large = self._rows(merged.entries, now)
        for place in too_large:
            del merged.entries[place]
            rejected += (
                Rejected(source, "entry_too_large", f"the entry would exceed {MAX_ENTRY_BYTES} bytes")
                for change, source in zip(chunk.changes, chunk.sources, strict=True)
                if (change.channel, change.address_key) == place
            )
        self._metrics.merge_seconds.observe(time.perf_counter() - began)
        if rows:
            self._write(rows, merged.entries)
        count = self._metrics.records.labels
        count("unchanged").inc(merged.unchanged)
        count("rejected").inc(len(rejected))
        count("merged").inc(len(chunk.changes) + len(chunk.rejected) - merged.unchanged - len(rejected))
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
            entry = entry_of(self._codec.decode(self._topic_of[change.channel], data))
        except Unreadable as error:
            wrong = error.reason
        else:
            if (entry.channel, entry.address_key) == (change.channel, change.address_key):
                return entry
            wrong = "stands under another key"
        self._metrics.unreadable_entries.inc()
        logger.error("partition %d: a standing entry is %s: its permissions are void", self._partition, wrong)
        return after_loss(change, lost=data, now=now)

    def _rows(self, entries: Mapping[Place, Entry], now: int) -> tuple[list[Row], list[Place]]:
        """The records to write, and the places whose entry no broker would take."""
        event = uuid.uuid4().hex
        common = [
            header
            for header in cloudevents.headers(
                event_id=event, event_type=_EVENT_TYPE, source=self._source, time_micros=now
            )
            if header[0] != "ce_id"
        ]
        encode, rows, too_large = self._codec.encode, [], []
        for number, (place, entry) in enumerate(entries.items()):
            topic = self._topic_of[place[0]]
            value = encode(topic, suppression_datum(entry, now))
            if len(value) > MAX_ENTRY_BYTES:
                too_large.append(place)
            else:
                headers = [("ce_id", f"{event}-{number}".encode()), *common]
                rows.append(Row(topic, place[1].encode(), value, headers))
        return rows, too_large

    def _write(self, rows: Sequence[Row], entries: Mapping[Place, Entry]) -> None:
        assert self._store is not None
        began = time.perf_counter()
        try:
            ends = self._writer.write(rows)
        except Aborted:
            self._metrics.aborted.inc()
            raise
        self._metrics.transaction_seconds.observe(time.perf_counter() - began)
        for topic, end in ends.items():
            self._positions[topic] = Position(self._positions[topic].topic_id, end)
        # Only now: a store that is ahead of an aborted transaction would take a revocation for written.
        self._store.write(entries, self._recovery.checkpoint(self._positions))
        for channel, topic in self._topic_of.items():
            self._metrics.entries_written.labels(channel).inc(sum(1 for row in rows if row.topic == topic))


def _misplaced(source: Any) -> Rejected:
    wrong = InvalidRecord("tenant", "the entry of this address key belongs to another tenant")
    return Rejected(source, wrong.reason, str(wrong))
