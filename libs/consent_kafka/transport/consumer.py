"""Faust's consumer, changed so that one event is one chunk, and only an acknowledgement moves a commit.

Stock Faust loses a record in two ways: it commits past a record in flight (an off-by-one in `_new_offset`), and
an exception in an agent acknowledges the event. Here Faust's own acknowledgements are inert; what is committed
comes from the partition_tasks alone. The rest (group membership, threads, rebalancing) stays Faust's and aiokafka's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar, cast

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP, ConsumerMessage, Message
from faust.types.transports import ConsumerT

from consent_kafka.group_state import GroupState
from consent_kafka.transport.api import Chunk
from consent_kafka.transport.chunk_app import ChunkApp
from consent_kafka.transport.thread import POLL_SECONDS, ChunkConsumerThread


class ChunkConsumer(Consumer):
    """Faust's consumer service in the loop's thread."""

    app: ChunkApp
    _thread: ChunkConsumerThread

    def __post_init__(self) -> None:
        super().__post_init__()
        self.partition_tasks = self.app.partition_tasks
        self._committing = asyncio.Lock()

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def wake(self) -> None:
        self._thread.wake()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            self.stop_flow()
            await self.partition_tasks.suspend()
            await self.commit()
        except Exception as failure:
            self.app.fail(failure)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await super().on_partitions_assigned(assigned, generation_id)
        if self.app.should_stop:
            return
        self.partition_tasks.assign(assigned, self._thread.group_metadata)
        self.app.flow_control.resume()
        self.resume_flow()
        await self.app._fetcher.maybe_start()
        self.app.on_rebalance_end()

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(POLL_SECONDS):
                    await self.callback(message)
        except (ConsumerStoppedError, asyncio.CancelledError):
            # Faust takes a fetcher that is ended while the group rebalances for one to be started again, and
            # crashes over it; a worker that was asked to stop would then end as if it had failed.
            if not self.app.should_stop:
                raise

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """One message for each partition that has records, holding a chunk of them."""
        self.app.health.heartbeat(self.app.stream_spec.name)
        if self.app.membership.observe() is not GroupState.LEFT_OUT:
            self.app.health.heartbeat(f"{self.app.stream_spec.name}, consumer group")
        self.partition_tasks.report()
        if not self.flow_active:
            await self._thread.check_errors()
            await self.wait(self.can_resume_flow.wait(), timeout=timeout)
            return
        for tp, fetched in (await self._thread.fetch()).items():
            task = self.partition_tasks.get(*tp)
            if task is None:
                continue
            chunk = None
            if fetched.records:
                # None: the partition is being revoked. Its next assignment starts at the committed offset.
                chunk = task.deliver(fetched.records, fetched.position)
            else:
                task.advance_to(fetched.position)
            if fetched.stable is not None and fetched.end is not None:
                task.observe_end(stable=fetched.stable, end=fetched.end)
            if chunk is not None:
                yield tp, self._to_message(tp, chunk)

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
            self.partition_tasks.observe()
            group_metadata, offsets = self._thread.group_metadata, self.partition_tasks.committable()
            if not offsets:
                return False
            outcome = await self._thread.commit_as_member(group_metadata, offsets)
            if outcome == "done":
                self.partition_tasks.committed(offsets, group_metadata)
            self.app.metrics.commits.labels(self.app.stream_spec.name, outcome).inc()
            return outcome == "done"

    async def verify_all_partitions_active(self) -> None:
        """Faust's own watch knows nothing of chunks; health and lag are ours."""


class ChunkTransport(Transport):
    Consumer: ClassVar[type[ConsumerT]] = ChunkConsumer
