"""Who sends: the member of the group `propagator.<name>` that holds the one partition of its empty topic.

Faust holds the group membership; a term as the active sender is one life of this handler. A term begins with fencing
every earlier sender, then reads what it delivered, and only then sends. It ends when the partition is lost, when the
process stops, when the committer is fenced or the tables have to be restored; in the last two cases another term begins
as long as the partition is ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from consent_kafka.transport.api import Chunk, Ownership
from consent_service.clock import now_micros
from consent_service.health import Health
from consent_state import (
    Remaining,
    RestoreFailedError,
    TopicPartition,
    high_watermarks,
    last_stable_offsets,
    open_transactions,
)
from propagator.errors import SenderFencedError
from propagator.sending.ports import PendingPush
from propagator.state.committer import Committer, OutgoingRecord
from propagator.state.fills import fill_reason, next_fills
from propagator.state.overlay import UndurableRow
from propagator.state.planning import PlannedDestination
from propagator.state.reader import StateReader, Update
from propagator.state.records import RecordBuilder
from propagator.state.session import SenderSession
from propagator.timing import DRAIN_SECONDS, TERM_COMMIT_SECONDS

log = logging.getLogger(__name__)

NAME = "sender"
COMMITTER = "committer"
"""The thread that commits, while it has work."""
POLL_SECONDS = 0.02
CHECK_SECONDS = 1.0
RETRY_SECONDS = 0.25


def health_name(destination: str) -> str:
    """Under which a destination's worker reports its health."""
    return f"destination {destination}"


class Worker(Protocol):
    """What sends to one destination during one term."""

    async def start(self) -> None: ...

    async def stop(self, drain_seconds: float) -> None: ...

    def offer(self, pushes: Sequence[PendingPush]) -> None: ...


class SenderEvents(Protocol):
    """What is counted of terms."""

    def active(self, active: bool) -> None:
        """A term has begun, or ended."""

    def transaction(self, records: Sequence[OutgoingRecord]) -> None:
        """Rows and these other records were committed."""

    def too_large(self, destination: str, record: str) -> None:
        """The broker refused a record of this kind (row, receipt) for its size."""

    def fill_began(self, destination: str, reason: str) -> None:
        """Everything at this destination is unknown from now on."""


class ActiveSender:
    """Makes a handler for each time that the partition is assigned to this process."""

    def __init__(
        self,
        *,
        reader: StateReader,
        session: SenderSession,
        records: RecordBuilder,
        destinations: Sequence[PlannedDestination],
        make_worker: Callable[[str], Worker],
        make_producer: Callable[[], Producer],
        admin: AdminClient,
        health: Health,
        events: SenderEvents,
        now: Callable[[], int] = now_micros,
    ) -> None:
        self.reader = reader
        self.session = session
        self.events = events
        self._records = records
        self._destinations = destinations
        self._make_worker = make_worker
        self._make_producer = make_producer
        self._admin = admin
        self._health = health
        self._now = now

    async def open(self, _topic: str, _partition: int, ownership: Ownership) -> Terms:
        """Called by the transport when the partition is assigned; returns once the first term has begun."""
        terms = Terms(self, ownership)
        try:
            await terms.first()
        except BaseException:
            await terms.close()
            raise
        return terms

    async def begin(self, ownership: Ownership, term: Term) -> None:
        """Fence earlier senders, catch up with what they delivered, begin the fills that are due, start the workers.

        Raises SenderFencedError, KafkaException and RestoreFailedError: the term has to be ended and tried again.
        """
        self._waits("waiting for its place in the group")
        while not ownership.is_confirmed():  # noqa: ASYNC110 - it is a matter of time, nothing announces it
            await asyncio.sleep(POLL_SECONDS)
        committer = Committer(
            self._make_producer,
            on_committed=self.session.overlay.committed,
            on_too_large=self._too_large,
            on_lost=term.over.set,
            on_transaction=self.events.transaction,
            beat=lambda: self._health.heartbeat(COMMITTER),
            at_rest=lambda: self._health.at_rest(COMMITTER),
        )
        self._waits("fencing earlier senders")
        await committer.open()
        term.committer = committer
        if not ownership.is_confirmed():
            raise SenderFencedError("the partition was lost while earlier senders were fenced")
        await self._catch_up()
        # From here on each update reaches this term; what was read before is in the tables.
        self.reader.listen(term)
        self.session.begin(committer, ownership)
        await self.begin_fills(committer)
        for destination in self._destinations:
            worker = self._make_worker(destination.name)
            term.workers[destination.name] = worker
            await worker.start()
        self.events.active(True)
        self._health.set_ready(NAME)
        log.info("this process is the active sender")

    async def begin_fills(self, committer: Committer) -> None:
        """Write the rows of destinations whose fill is due, in one transaction; returns once they are read back."""
        losses = [self.reader.freshness.loss(tables.partition) for tables in self.reader.tables]
        due: dict[str, int] = {}
        now = self._now()
        for destination in self._destinations:
            fills = [tables.fill(destination.name) for tables in self.reader.tables]
            reason = fill_reason(
                fills, generation=destination.generation, lost_at=self.reader.lost.lost_at, losses=losses
            )
            if reason is None:
                continue
            log.info("a fill begins", extra={"destination": destination.name, "reason": str(reason)})
            self.events.fill_began(destination.name, reason)
            # A fill begins after all earlier ones, whatever the clocks of their senders were.
            began_at = max(now, self.reader.lost.lost_at, *(each.began_at + 1 for each in fills if each is not None))
            rows = next_fills(losses, generation=destination.generation, now=began_at)
            committer.put_others(
                [
                    self._records.fill(destination, fill, partition=partition, now=now)
                    for partition, fill in rows.items()
                ]
            )
            due[destination.name] = began_at
        if due:
            await committer.commit()
            self._waits("reading back the beginning of a fill")
            while not self._read_back(due):  # noqa: ASYNC110 - set by the reader thread
                await asyncio.sleep(POLL_SECONDS)

    async def end(self, term: Term) -> None:
        """Start nothing new, give what is in flight its second, commit, release."""
        self.events.active(False)
        stopped = await asyncio.gather(
            *(worker.stop(DRAIN_SECONDS) for worker in term.workers.values()), return_exceptions=True
        )
        for name in term.workers:
            self._health.unregister(health_name(name))
        for failure in stopped:
            if isinstance(failure, Exception):
                log.error("a destination did not stop in order", exc_info=failure)
        if term.committer is not None:
            await term.committer.close(TERM_COMMIT_SECONDS)
        self.reader.listen(None)
        self.session.end()
        self._health.unregister(NAME)

    def _too_large(self, record: OutgoingRecord, row: UndurableRow | None) -> None:
        destination = row.destination if row is not None else record.receipt[0] if record.receipt is not None else ""
        kind = "receipt" if row is None else "row"
        log.error(
            "a record is too large for its topic",
            extra={"kind": kind, "destination": destination, "bytes": len(record.value or b"")},
        )
        self.events.too_large(destination, kind)
        if row is not None:
            self.session.row_refused(row)

    async def _catch_up(self) -> None:
        """Return when the tables hold all that earlier senders committed, and the lists as far as they are stable.

        Both ends are asked for now that no earlier sender can commit any more.
        """
        ends: Mapping[TopicPartition, int] | None = None
        reported = 0.0
        loop = asyncio.get_running_loop()
        while True:
            if self.reader.restoring:
                ends = None  # Tables that are restored may begin at other topics.
                self._waits("waiting for the tables to be restored")
            elif ends is None:
                ends = await asyncio.to_thread(self._ends)
            elif not (remaining := self._remaining(ends)):
                return
            elif loop.time() - reported >= CHECK_SECONDS:
                reported = loop.time()
                waiting = await asyncio.to_thread(open_transactions, self._admin, remaining)
                self._waits(waiting or f"reading {', '.join(sorted(map(str, remaining)))} to the end")
            await asyncio.sleep(POLL_SECONDS)

    def _ends(self) -> dict[TopicPartition, int]:
        topics, partitions = self.reader.topics, range(len(self.reader.tables))
        state = [TopicPartition(topics.state, each) for each in partitions]
        # The loss numbers of the partitions are part of a fill's beginning, so those are read too.
        others = [TopicPartition(topic, each) for topic in (*topics.lists, topics.resolved) for each in partitions]
        return {**high_watermarks(self._admin, state), **last_stable_offsets(self._admin, others)}

    def _remaining(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, Remaining]:
        positions = self.reader.positions
        return {
            at: Remaining(position=positions[at].offset, end=end)
            for at, end in ends.items()
            if positions[at].offset < end
        }

    def _read_back(self, due: Mapping[str, int]) -> bool:
        return all(
            (fill := tables.fill(name)) is not None and fill.began_at >= began_at
            for name, began_at in due.items()
            for tables in self.reader.tables
        )

    def _waits(self, what: str) -> None:
        self._health.set_ready(NAME, what)


class Term:
    """One term, as the reader's listener: what changes in the tables goes to the workers."""

    def __init__(self, session: SenderSession) -> None:
        self.workers: dict[str, Worker] = {}
        self.committer: Committer | None = None
        self.over = asyncio.Event()
        self._session = session

    def on_update(self, update: Update) -> None:
        """First what is read back, so that the workers find the tables alone."""
        for partition, offset in update.state_offsets.items():
            self._session.overlay.read_to(partition, offset)
        for name, pushes in update.offers.items():
            worker = self.workers.get(name)
            if worker is not None:
                worker.offer(pushes)

    def on_restoring(self) -> None:
        """The tables cannot be relied on."""
        self.over.set()


class Terms:
    """One term after the other, from the assignment of the partition to its loss. A PartitionHandler."""

    def __init__(self, sender: ActiveSender, ownership: Ownership) -> None:
        self._sender = sender
        self._ownership = ownership
        self._began = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=NAME)

    async def first(self) -> None:
        """Returns once the first term has begun; raises what ended all terms before that."""
        began = asyncio.create_task(self._began.wait())
        try:
            await asyncio.wait({began, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            began.cancel()
        if self._task.done():
            await self._task

    async def process(self, chunk: Chunk) -> None:
        """The topic has no records; one that is written by mistake is of no meaning."""
        chunk.acknowledge()

    async def close(self) -> None:
        """The partition is lost, or the process stops."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            term = Term(self._sender.session)
            try:
                await self._sender.begin(self._ownership, term)
                self._began.set()
                await self._until_over(term)
            except (SenderFencedError, RestoreFailedError, KafkaException) as error:
                log.warning("a term as the active sender has ended", extra={"error": str(error)})
            finally:
                await _to_its_end(asyncio.create_task(self._sender.end(term)))
            await asyncio.sleep(RETRY_SECONDS)

    async def _until_over(self, term: Term) -> None:
        while not term.over.is_set():
            try:
                await asyncio.wait_for(term.over.wait(), CHECK_SECONDS)
            except TimeoutError:
                if term.committer is not None and not self._sender.reader.restoring:
                    await self._sender.begin_fills(term.committer)


async def _to_its_end(task: asyncio.Task[None]) -> None:
    """Wait for the task also where the waiter is cancelled meanwhile: a term that ended in part would leave its rows to
    the next one."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
