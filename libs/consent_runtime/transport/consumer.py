"""Faust's consumer, changed so that one event is one chunk, and only an acknowledgement moves a commit.

Stock Faust loses a record in two ways: it commits past a record in flight (an off-by-one in `_new_offset`), and
an exception in an agent acknowledges the event. Here Faust's own acknowledgements are inert; what is committed
comes from the sessions alone. The rest (group membership, threads, rebalancing) stays Faust's and aiokafka's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import aiokafka
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage, Message
from faust.types.transports import ConsumerT

from consent_runtime.kafka import aiokafka_security

from .contract import Chunk, Record
from .membership import Lease

if TYPE_CHECKING:
    from .app import ChunkApp

POLL_SECONDS = 0.5
COMMIT_SECONDS = 5.0
_MOVED_ON = (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one partition gave: perhaps no record, and the position at which reading goes on."""

    records: Sequence[Record]
    position: int


class ChunkConsumerThread(AIOKafkaConsumerThread):
    """The thread that talks to the broker: heartbeats go on whatever the loop's thread does."""

    app: ChunkApp
    consumer: ChunkConsumer
    _woken: asyncio.Future[None] | None = None

    async def on_start(self) -> None:
        await super().on_start()
        self.consumer.membership.watch(self._ensure_consumer()._coordinator)

    def _create_worker_consumer(self, transport: Any) -> Any:
        conf, options = self.app.conf, self.consumer.options
        return aiokafka.AIOKafkaConsumer(
            client_id=options.instance_id,
            group_id=conf.id,
            group_instance_id=options.instance_id,
            bootstrap_servers=options.bootstrap,
            # Topics with equally many partitions are handed out together.
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(options.session_timeout * 1000),
            heartbeat_interval_ms=int(options.heartbeat_interval * 1000),
            rebalance_timeout_ms=60_000,
            # The fetch loop polls twice a second even when every partition is paused; no poll: we hang.
            max_poll_interval_ms=60_000,
            # A partition that becomes ready is not in the fetch that is under way, and waits for its end.
            fetch_max_wait_ms=250,
            # Above the largest record anybody may write here: aiokafka cannot read one that is larger than this.
            max_partition_fetch_bytes=4 * 1024 * 1024,
            request_timeout_ms=30_000,
            metadata_max_age_ms=60_000,
            **aiokafka_security(options.client_config),
        )

    def wake(self) -> None:
        """More partitions may be fetched. From any thread."""
        if self._thread_started.is_set() and not self.thread_loop.is_closed():
            self.thread_loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        coordinator = self._ensure_consumer()._coordinator
        self.consumer.lease = Lease(generation=generation_id, member_id=coordinator.member_id)
        await super().on_partitions_assigned(assigned, generation_id)

    async def fetch(self) -> dict[TP, Fetched]:
        """One chunk of each partition that is ready; waits a while for the first."""
        return await self.call_thread(self._fetch)  # type: ignore[no-any-return]

    async def _fetch(self) -> dict[TP, Fetched]:
        consumer = self._ensure_consumer()
        if consumer._closed:
            raise ConsumerStoppedError
        consumer._coordinator.check_errors()
        fetcher: Fetcher = consumer._fetcher
        with consumer._subscription.fetch_context():
            fetched = await self._drain(consumer, fetcher)
            if not any(found.records for found in fetched.values()):
                await self._wait_for_records(fetcher)
                fetched = await self._drain(consumer, fetcher)
        return fetched

    async def _drain(self, consumer: Any, fetcher: Fetcher) -> dict[TP, Fetched]:
        # Nothing in here waits, so that the records, the assignment they came under and the set of partitions
        # that are ready belong together: none is taken from the fetcher that nobody is there to process.
        subscriptions = consumer._subscription
        if subscriptions.reassignment_in_progress:
            return {}
        fetched: dict[TP, Fetched] = {}
        for tp in self.consumer.sessions.ready:
            state = subscriptions.subscription.assignment.state_value(tp)
            if state is None or not state.has_valid_position:
                continue
            records: Sequence[Record] = ()
            if tp in fetcher._records:
                found = await fetcher.fetched_records({tp}, 0, self.consumer.options.max_chunk)
                records = found.get(tp, ())
            fetched[tp] = Fetched(records, state.position)
        return fetched

    async def _wait_for_records(self, fetcher: Fetcher) -> None:
        arrived = fetcher._create_fetch_waiter()
        self._woken = self.thread_loop.create_future()
        await asyncio.wait({arrived, self._woken}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if arrived.done():
            arrived.result()
        arrived.cancel()

    async def commit_under(self, lease: Lease, offsets: Mapping[TP, int]) -> str:
        """Commit as the member that was assigned the partitions, or not at all. How it went: done, refused
        (the group has moved on), failed (no answer)."""
        return await self.call_thread(self._commit_under, lease, offsets)  # type: ignore[no-any-return]

    async def _commit_under(self, lease: Lease, offsets: Mapping[TP, int]) -> str:
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator
        wanted = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await coordinator.ensure_coordinator_known()
                async with coordinator._commit_lock:
                    # aiokafka commits under whatever generation it has at the time, and under none at all (-1,
                    # which a broker takes for an empty group) after it was thrown out. The request is built
                    # before the first wait in this call, so this comparison holds for it.
                    if lease != Lease(generation=coordinator.generation, member_id=coordinator.member_id):
                        return "refused"
                    await coordinator._do_commit_offsets(consumer._subscription.subscription.assignment, wanted)
        except _MOVED_ON:
            return "refused"
        except TimeoutError:
            return "failed"
        except KafkaError as error:
            if not error.retriable:
                raise
            return "failed"
        return "done"


class ChunkConsumer(Consumer):
    """Faust's consumer service in the loop's thread."""

    app: ChunkApp
    _thread: ChunkConsumerThread

    def __post_init__(self) -> None:
        super().__post_init__()
        self.options = self.app.options
        self.membership = self.app.membership
        self.sessions = self.app.sessions
        self.lease = Lease(generation=-1, member_id="")
        self._committing = asyncio.Lock()

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def wake(self) -> None:
        self._thread.wake()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            self.stop_flow()
            await self.sessions.suspend()
            await self.commit()
        except Exception as failure:
            self.app.fail(failure)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await super().on_partitions_assigned(assigned, generation_id)
        if self.app.should_stop:
            return
        self.sessions.assign(assigned, self.lease)
        self.app.flow_control.resume()
        self.resume_flow()
        await self.app._fetcher.maybe_start()
        self.app.on_rebalance_end()

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(POLL_SECONDS):
                    await self.callback(message)
        except ConsumerStoppedError:
            if not self.app.should_stop:
                raise

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """One message for each partition that has records, holding a chunk of them."""
        self.app.health.beat(self.app.relay.name)
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait(), timeout=timeout)
            return
        for tp, fetched in (await self._thread.fetch()).items():
            session = self.sessions.of(*tp)
            if session is None:
                continue
            if fetched.records:
                # None: the partition is being taken away. Its next assignment starts at the committed offset.
                chunk = session.deliver(fetched.records, fetched.position)
                if chunk is not None:
                    yield tp, self._to_message(tp, chunk)
            else:
                session.passed(fetched.position)

    def _to_message(self, tp: TP, record: Chunk) -> ConsumerMessage:
        first = record.records[0]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            first.offset,
            first.timestamp / 1000,
            0,
            None,
            None,
            cast(bytes, record),
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def ack(self, message: Message) -> bool:
        """Faust's acknowledgement. It comes after exceptions and for skipped events too, so it means nothing."""
        message.acked = True
        return False

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what the handlers have acknowledged, never beyond the oldest range they have not."""
        async with self._committing:
            if self._thread.should_stop:
                return False  # What was acknowledged will be delivered again.
            self.sessions.observe()
            lease, offsets = self.lease, self.sessions.committable()
            if not offsets:
                return False
            outcome = await self._thread.commit_under(lease, offsets)
            if outcome == "done":
                self.sessions.committed(offsets, lease)
            self.app.metrics.commits.labels(self.app.relay.name, outcome).inc()
            return outcome == "done"

    async def verify_all_partitions_active(self) -> None:
        """Faust's own watch knows nothing of chunks; health and lag are ours."""


class ChunkTransport(Transport):
    Consumer: ClassVar[type[ConsumerT]] = ChunkConsumer
