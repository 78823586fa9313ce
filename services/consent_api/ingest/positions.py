"""Up to which append time ingest has recorded its topics, stored in the ledger each half second.

The relay states it beside the ledger's own time, so that a reader knows how old its answer is for those who submit by
Kafka.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from sqlalchemy import Connection, text

from consent_api.errors import LedgerUnavailableError
from consent_api.ingest.deleted_records import Partition
from consent_api.ledger.database import CLOCK_MICROS
from consent_api.ledger.ledger import Ledger
from consent_kafka.clients import LastingAdmin
from consent_kafka.offsets import offset_in
from consent_service.clock import MAX_CLOCK_LEAD_MICROS
from consent_service.health import Health

log = logging.getLogger(__name__)

PART = "inbound-positions"
INTERVAL_SECONDS = 0.5
_REQUEST_SECONDS = 2.0
_REPLACED_AFTER = 3
"""Questions in a row without an end. A client that has just been made misses about the first one in a hundred."""

# An ingest that is configured and has recorded nothing yet is not one that does not exist.
_DECLARE = text(
    "INSERT INTO ingest_positions (topic, partition, next_offset, resolved_at, updated_at)"  # noqa: S608 - constants
    f" VALUES (:topic, :partition, 0, 0, {CLOCK_MICROS}) ON CONFLICT DO NOTHING"
)
# What is stored is kept if it is later, but not if it was given by a database's clock that has been set back since.
_STORE = text(
    f"UPDATE ingest_positions SET next_offset = :next_offset, updated_at = {CLOCK_MICROS},"  # noqa: S608 - constants
    f" resolved_at = greatest(CASE WHEN resolved_at <= {CLOCK_MICROS} + {MAX_CLOCK_LEAD_MICROS} THEN resolved_at END,"
    " CAST(:resolved_at AS bigint))"
    " WHERE topic = :topic AND partition = :partition"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Everything below `next_offset` is recorded. `append_time`: of the last record, microseconds; None: none was read
    since the partition was assigned."""

    next_offset: int
    append_time: int | None


class RecordedPositions:
    """Of the partitions that are assigned now. Written by the consumer loops, read by another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._positions: dict[Partition, Position] = {}

    def recorded(self, partition: Partition, *, next_offset: int, append_time: int | None) -> None:
        """`append_time` None: no record is below `next_offset` that was not recorded before."""
        with self._lock:
            before = self._positions.get(partition)
            known = append_time if append_time is not None or before is None else before.append_time
            self._positions[partition] = Position(next_offset=next_offset, append_time=known)

    def forget(self, partitions: Iterable[Partition]) -> None:
        with self._lock:
            for each in partitions:
                self._positions.pop(each, None)

    def snapshot(self) -> dict[Partition, Position]:
        with self._lock:
            return dict(self._positions)


def resolved_times(
    *,
    before: Mapping[Partition, Position],
    ends: Mapping[Partition, int],
    after: Mapping[Partition, Position],
    asked_at: int,
) -> dict[Partition, int]:
    """By partition, the append time up to which it is recorded, microseconds. Pure.

    `ends` were asked for at `asked_at`, by the database's clock; `before` and `after` are the positions before and
    after that. A partition that is recorded to its end counts as of when its end was asked; one that is longer, as of
    its last recorded record, unless a fast clock gave that an append time that is yet to come. One that ends below what
    was recorded earlier is another, or lost records: nothing is known of it.
    """
    found: dict[Partition, int] = {}
    for partition, position in after.items():
        end, earlier = ends.get(partition), before.get(partition)
        if end is not None and earlier is not None and earlier.next_offset > end:
            continue
        if end is not None and position.next_offset >= end:
            found[partition] = asked_at
        elif position.append_time is not None and position.append_time <= asked_at:
            found[partition] = position.append_time
    return found


class PositionsLoop:
    """A thread of its own, with a connection of its own: the loops that record are not held up by it."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        positions: RecordedPositions,
        ends: Callable[[Collection[Partition]], dict[Partition, int]],
        topics: Sequence[str],
        partitions: int,
        health: Health,
    ) -> None:
        """`ends` asks the broker for end offsets, those of open transactions included; absent where it gave none."""
        self._ledger = ledger
        self._positions = positions
        self._ends = ends
        self._expected = [(topic, each) for topic in topics for each in range(partitions)]
        self._health = health
        self._declared = False

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._health.heartbeat(PART)
            with suppress(LedgerUnavailableError):  # The loops that record report that themselves.
                self.step()
            stop.wait(INTERVAL_SECONDS)

    def step(self) -> None:
        """Raises LedgerUnavailableError."""
        if not self._declared:
            self._ledger.transact(self._declare)
            self._declared = True
        before = self._positions.snapshot()
        if not before:
            return
        # Not this process's clock: a fast one, even if it were bounded by the database's when the positions are stored,
        # would claim more than was read when the ends were asked for.
        asked_at = self._ledger.now()
        ends = self._ends(before.keys())
        after = self._positions.snapshot()
        resolved = resolved_times(before=before, ends=ends, after=after, asked_at=asked_at)
        if resolved:
            self._ledger.transact(lambda connection: self._store(connection, resolved, after))

    def _declare(self, connection: Connection) -> None:
        rows = [{"topic": topic, "partition": partition} for topic, partition in self._expected]
        connection.execute(_DECLARE, rows)

    def _store(
        self, connection: Connection, resolved: Mapping[Partition, int], positions: Mapping[Partition, Position]
    ) -> None:
        # In one order, so that two processes that hand partitions over cannot wait for each other.
        rows = [
            {
                "topic": topic,
                "partition": partition,
                "next_offset": positions[topic, partition].next_offset,
                "resolved_at": resolved_at,
            }
            for (topic, partition), resolved_at in sorted(resolved.items())
        ]
        connection.execute(_STORE, rows)


class EndOffsets:
    """Asks the broker for all ends in one request: the high watermarks, as a record of a transaction that is still open
    has an append time too."""

    def __init__(self, connect: Callable[[], LastingAdmin]) -> None:
        """`connect` makes a client. It is called again when one gives no end at all, three times in a row: a client was
        seen to give none for minutes after the broker had been killed and started again, while others did."""
        self._connect = connect
        self._admin: LastingAdmin | None = None
        self._in_vain = 0

    def __call__(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Absent where the broker did not answer in time."""
        if self._admin is None:
            self._admin, self._in_vain = self._connect(), 0
        self._admin.poll(0)  # for its log lines
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic, partition): latest for topic, partition in partitions}
        found: dict[Partition, int] = {}
        reason = ""
        listed = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_REQUEST_SECONDS
        )
        for place, answer in listed.items():
            try:
                found[place.topic, place.partition] = offset_in(answer)
            except KafkaException as error:
                log.debug("an end offset is not known", extra={"topic": place.topic, "error": str(error)})
                reason = str(error)
        self._in_vain = 0 if found else self._in_vain + 1
        if not found:
            log.warning("no end offset is known", extra={"error": reason})
        if self._in_vain == _REPLACED_AFTER:
            # Its threads and connections would wait for the garbage collector: errors refer to what asked.
            replaced, self._admin = self._admin, None
            replaced.close()
        return found
