"""The thread that keeps the tables at the ends of their topics, in the active sender as in a standby.

It reads all partitions by plain assignment. What the tables hold and up to where they were read change together, so the
group's offsets decide nothing. Positions that do not fit the topics, at start or every few seconds afterwards, and
local state that is damaged, are healed in the same way: the tables are restored from the topics.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from consent_contracts.errors import RegistryUnavailableError
from consent_service.clock import now_micros
from consent_service.errors import RetryStoppedError
from consent_service.health import Health
from consent_service.retry import Backoff, Failure, retry
from consent_state import (
    Batch,
    Position,
    Rebuild,
    RebuildReason,
    RestoreFailedError,
    RestoreStoppedError,
    StateStoreCorruptedError,
    TableReader,
    TopicPartition,
    find_misfits,
    last_stable_offsets,
    restore,
    start_positions,
)
from propagator.sending.ports import PendingPush
from propagator.state.broker_watch import BrokerWatch
from propagator.state.freshness import Freshness
from propagator.state.lost import LostState
from propagator.state.memory import release_memory
from propagator.state.scan import Scanner
from propagator.state.tables import Offers, PartitionTables, TableTopics

log = logging.getLogger(__name__)

NAME = "tables"
POLL_SECONDS = 0.2
BUSY_POLL_SECONDS = 0.002
CHECK_SECONDS = 5.0
_BACKOFF = Backoff((1.0,))
MAX_MESSAGES = 2_000
"""Planned in one write; more would make the next records wait."""
BULK_RECORDS = 50_000
"""A partition that is this much behind its topics is restored without planning each record, and scanned afterwards."""
RETRIED_ADDRESSES = 500
DEFERRED_ADDRESSES = 100
"""Bulk entries planned between two polls, in one partition."""
BACKLOG_MESSAGES = MAX_MESSAGES // 4
"""A poll that returns so many leaves more in the topics, and a live entry may be among them."""
DEFERRED_DURING_BACKLOG = 5
"""Instead, after such a poll: about a tenth of the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What the tables have taken in, once it is written."""

    offers: Mapping[str, Sequence[PendingPush]] = field(default_factory=dict)
    state_offsets: Mapping[int, int] = field(default_factory=dict)
    """By partition: everything below this offset of the state topic is in the tables."""


class StateListener(Protocol):
    """Is called on the event loop."""

    def on_update(self, update: Update) -> None:
        """The tables have changed."""

    def on_restoring(self) -> None:
        """The tables are being restored: nothing that they hold may be relied on."""


class RestoreEvents(Protocol):
    """What the reader counts."""

    def rebuilt(self, reason: RebuildReason) -> None:
        """A partition's tables are restored from the beginning of the topics."""

    def schema_missing(self, destination: str, partitions: int) -> None:
        """In so many partitions entries wait for the schema registry."""


def deferred_addresses(polled: int) -> int:
    """How many bulk entries may be planned after a poll that returned so many records."""
    return DEFERRED_DURING_BACKLOG if polled >= BACKLOG_MESSAGES else DEFERRED_ADDRESSES


class StateReader:
    """Owns the tables of all partitions."""

    def __init__(
        self,
        tables: Sequence[PartitionTables],
        *,
        topics: TableTopics,
        make_consumer: Callable[[], Consumer],
        admin: AdminClient,
        freshness: Freshness,
        broker_watch: BrokerWatch,
        lost: LostState,
        health: Health,
        events: RestoreEvents,
        stopping: threading.Event,
    ) -> None:
        self.tables = tables
        self.topics = topics
        self.freshness = freshness
        self.lost = lost
        self.scanner = Scanner(tables)
        self.newest_append = 0
        """The newest append time read, in micros."""
        self.restoring = True
        self._make_consumer = make_consumer
        self._admin = admin
        self._broker_watch = broker_watch
        self._health = health
        self._events = events
        self._stopping = stopping
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None
        self._positions: Mapping[TopicPartition, Position] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: StateListener | None = None
        self._current = 0
        self._deferring = 0
        self._damaged: tuple[int, StateStoreCorruptedError] | None = None
        self._suspected = False
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        health.set_ready(NAME, "restoring")

    @property
    def positions(self) -> Mapping[TopicPartition, Position]:
        """Up to where each topic is in the tables. May be asked from any thread."""
        return self._positions

    def start(self) -> None:
        """Begin to read. Nothing of it is on the event loop, which may start later."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended and the tables are closed."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    async def failure(self) -> BaseException:
        """Returns when the thread cannot go on: the process has to end. To be awaited on the loop of the listener."""
        self._loop = asyncio.get_running_loop()
        if self._failure is None:
            await self._failed.wait()
        assert self._failure is not None
        return self._failure

    def listen(self, listener: StateListener | None) -> None:
        """Which listener is called from now on, on the running loop. None: a standby has none."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener

    def corrupted(self, partition: int, error: StateStoreCorruptedError) -> None:
        """Another thread met damaged local state in this partition."""
        self._damaged = (partition, error)

    def suspect(self) -> None:
        """Another thread met damaged local state in some pending index: all are read at the next check."""
        self._suspected = True

    def _run(self) -> None:
        for tables in self.tables:
            if tables.store.rebuild is not None:
                self._events.rebuilt(tables.store.rebuild.reason)
        try:
            while not self._stopping.is_set():
                retry(
                    self._restore_and_follow,
                    on=(RestoreFailedError, RegistryUnavailableError),
                    backoff=_BACKOFF,
                    stop=self._stopping,
                    report=self._report,
                )
        except (RestoreStoppedError, RetryStoppedError):
            pass
        except BaseException as error:
            log.critical("the tables have failed", exc_info=error)
            self._failure = error
            self._call(self._failed.set)
        finally:
            for tables in self.tables:
                tables.store.close()

    def _restore_and_follow(self) -> None:
        try:
            self._restore()
            self._follow()
        except StateStoreCorruptedError as error:
            self._rebuild(self._current, error)

    def _report(self, failure: Failure[Exception]) -> None:
        log.warning("the tables cannot be opened; trying again", extra={"error": str(failure.error)})
        self._health.heartbeat(NAME, "restoring")
        self._health.set_ready(NAME, str(failure.error))

    def _rebuild(self, partition: int, error: StateStoreCorruptedError) -> None:
        log.error("a partition cannot be restored", extra={"partition": partition, "error": str(error)})
        self._begin_restoring()
        self._events.rebuilt(RebuildReason.CORRUPTED)
        self.tables[partition].store.clear(Rebuild(RebuildReason.CORRUPTED, str(error)))

    def _begin_restoring(self) -> None:
        self.restoring = True
        self.scanner.stop()
        listener = self._listener
        if listener is not None:
            self._call(listener.on_restoring)

    def _restore(self) -> None:
        """Bring each partition's tables near the ends of its topics, and find out from where to read on."""
        self._begin_restoring()
        self._damaged = None  # Reported while another partition was healed: it is met again if it is still there.
        positions: dict[TopicPartition, Position] = {}
        for tables in self.tables:
            self._current = tables.partition
            self._health.heartbeat(NAME, "restoring")
            positions |= self._restore_partition(tables)
            self.freshness.forget(tables.partition)
            tables.load()
            if (resolved := tables.resolved()) is not None:
                self.freshness.receive(tables.partition, *resolved)
        self._positions = positions
        for tables in self.tables:
            self._advance(tables)
        self.scanner.check()
        self.restoring = False
        self._health.set_ready(NAME)

    def _restore_partition(self, tables: PartitionTables) -> Mapping[TopicPartition, Position]:
        store, partitions = tables.store, self.topics.of_partition(tables.partition)
        self._note_lost_state(tables)
        start = start_positions(store, self._admin, partitions)
        for misfit in list(start.misfits.values())[:1]:
            self._events.rebuilt(misfit.reason)
        # Nothing waits for an open transaction on a list; the state topic is read to its high watermark before
        # this process sends.
        ends = last_stable_offsets(self._admin, partitions)
        missing = sum(max(0, end - start.positions[at].offset) for at, end in ends.items())
        if store.positions and missing <= BULK_RECORDS:
            return start.positions
        log.info("partition restoring", extra={"partition": tables.partition, "records": missing})
        tables.begin_bulk()
        reader = TableReader(self._make_consumer, start.positions)
        try:
            restored = restore(
                store,
                reader,
                ends,
                admin=self._admin,
                apply=tables.apply_unplanned,
                waiting=lambda what: self._health.set_ready(NAME, what),
                beat=lambda: self._health.heartbeat(NAME, "restoring"),
                stopping=self._stopping,
            )
            positions = dict(reader.positions)
        finally:
            reader.close()
            release_memory()
        log.info(
            "partition restored",
            extra={
                "partition": tables.partition,
                "records": restored.records,
                "seconds": round(restored.seconds, 1),
            },
        )
        return positions

    def _note_lost_state(self, tables: PartitionTables) -> None:
        """Before the tables are cleared for it. A topic that was created again needs no note: its destinations have no
        rows of their own, or ones that were written since."""
        at = TopicPartition(self.topics.state, tables.partition)
        if at in tables.store.positions:
            misfit = find_misfits(self._admin, {at: tables.store.positions[at]}).get(at)
            if misfit is not None and misfit.reason is RebuildReason.OUT_OF_RANGE:
                self.lost.note(now_micros(), misfit.detail)

    def _follow(self) -> None:
        """Read on until something does not fit any more."""
        reader = TableReader(self._make_consumer, self._positions, max_messages=MAX_MESSAGES)
        try:
            next_check = time.monotonic() + CHECK_SECONDS
            while not self._stopping.is_set():
                self._health.heartbeat(NAME)
                busy = self.scanner.busy or self._is_deferring
                batches = reader.poll(BUSY_POLL_SECONDS if busy else POLL_SECONDS)
                self._take(batches)
                self._plan_deferred(deferred_addresses(sum(len(batch.messages) for batch in batches)))
                self._publish(self.scanner.step())
                if time.monotonic() >= next_check:
                    self._broker_watch.look(list(self._positions))
                    if not self._fits():
                        return
                    self._load_suspected()
                    self._advance_heads()
                    self._retry_unplanned()
                    next_check = time.monotonic() + CHECK_SECONDS
                if self._damaged is not None:
                    (self._current, error), self._damaged = self._damaged, None
                    raise error
        finally:
            reader.close()

    def _take(self, batches: Sequence[Batch]) -> None:
        by_partition: dict[int, list[Batch]] = {}
        read_at = time.monotonic()
        for batch in batches:
            if batch.partition.topic == self.topics.resolved:  # Some each second, while all is well.
                self._broker_watch.read(batch.partition, batch.messages)
            by_partition.setdefault(batch.partition.partition, []).append(batch)
        for partition, read in by_partition.items():
            self._current = partition
            tables = self.tables[partition]
            applied = tables.apply(read)
            self._positions = {**self._positions, **{batch.partition: batch.position for batch in read}}
            self.newest_append = max(self.newest_append, applied.newest_append)
            for append_time, value in applied.resolved:
                self.freshness.receive(partition, append_time, value, read_at=read_at)
            self._advance(tables)
            state = self._positions[TopicPartition(self.topics.state, partition)].offset
            self._publish(applied.offers, {partition: state})
            if applied.fills_changed:
                self.scanner.check()

    def _advance(self, tables: PartitionTables) -> None:
        lists = {topic: self._positions[TopicPartition(topic, tables.partition)] for topic in self.topics.lists}
        self.freshness.advance(tables.partition, lists)

    def _fits(self) -> bool:
        try:
            misfits = find_misfits(self._admin, self._positions)
        except RestoreFailedError as error:
            # Without an answer nothing is known to be wrong. What was read stays right.
            log.warning("whether positions fit the topics is not known", extra={"error": str(error)})
            return True
        for at, misfit in misfits.items():
            log.error(
                "positions do not fit the topics; the tables are restored",
                extra={"at": str(at), "detail": misfit.detail},
            )
        return not misfits

    def _load_suspected(self) -> None:
        suspected, self._suspected = self._suspected, False
        for tables in self.tables if suspected else ():
            self._current = tables.partition
            tables.load()

    def _advance_heads(self) -> None:
        for tables in self.tables:
            self._current = tables.partition
            tables.advance_heads()

    @property
    def _is_deferring(self) -> bool:
        return any(tables.unplanned(channel) for tables in self.tables for channel in self.topics.lists.values())

    def _plan_deferred(self, limit: int) -> None:
        """One slice of one partition, so that what arrives meanwhile does not wait."""
        for _ in self.tables:
            self._deferring = (self._deferring + 1) % len(self.tables)
            tables = self.tables[self._deferring]
            if any(tables.unplanned(channel) for channel in self.topics.lists.values()):
                self._current = tables.partition
                self._publish(tables.plan_deferred(limit))
                return

    def _retry_unplanned(self) -> None:
        for tables in self.tables:
            self._current = tables.partition
            self._publish(tables.retry_unplanned(RETRIED_ADDRESSES))
        waiting = Counter(name for tables in self.tables for name in tables.without_schema)
        for name in self.tables[0].destinations:
            self._events.schema_missing(name, waiting[name])
        if waiting:
            what = f"entries of {', '.join(sorted(waiting))} wait for a schema that the registry does not give"
            log.error(
                "entries wait for a schema that the registry does not give; bring it back. If it answers without the"
                " schema they become dead letters",
                extra={"destinations": sorted(waiting)},
            )
            self._health.set_ready(NAME, what)
        else:
            self._health.set_ready(NAME)

    def _publish(self, offers: Offers, state_offsets: Mapping[int, int] | None = None) -> None:
        listener = self._listener
        if listener is not None and (offers or state_offsets):
            self._call(listener.on_update, Update(offers=offers, state_offsets=state_offsets or {}))

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # The loop has ended: the process is about to.
                loop.call_soon_threadsafe(function, *arguments)
