"""The thread that talks to the broker, whatever the loop's thread is doing: fetch, commit, heartbeats.

It reaches into aiokafka 0.14 where there is no public way: to take records only while a task is ready to process
them, and to commit only as the member that was assigned the partitions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiokafka
import aiokafka.consumer.fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import Fetcher, FetchResult, OffsetResetStrategy
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalGenerationError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from consent_kafka.clients import aiokafka_security
from consent_kafka.deleted_records import deleted_unread
from consent_kafka.transport.api import Record
from consent_kafka.transport.chunk_app import ChunkApp
from consent_kafka.transport.compressed_batches import UNFETCHABLE_HEADER, without_compressed
from consent_kafka.transport.membership import ConsumerGroupMetadata

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
COMMIT_SECONDS = 5.0
# aiokafka unpacks whatever a broker sends; here, before it does, is the only place to prevent that.
aiokafka_fetcher.MemoryRecords = lambda raw: MemoryRecords(without_compressed(raw))
_REBALANCED = (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnparsedRecord:
    """A record that the client cannot parse, by its coordinates."""

    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: None = None
    value: None = None
    headers: tuple[tuple[str, bytes | None], ...] = ((UNFETCHABLE_HEADER, b"the name of a header is not UTF-8"),)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one partition gave: perhaps no record, and the position at which reading goes on. `stable` and `end` are its
    last stable offset and its high watermark as of the last answer; None before that."""

    records: Sequence[Record]
    position: int
    stable: int | None = None
    end: int | None = None


class ChunkConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, fetching chunks."""

    app: ChunkApp
    group_metadata: ConsumerGroupMetadata
    """Under which the partitions were assigned that are ours now."""
    _woken: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.group_metadata = ConsumerGroupMetadata(generation=-1, member_id="")
        self._out_of_range: dict[TP, int] = {}
        """Where partitions were to be read on, and the topic no longer holds that offset."""
        self._singly: set[TP] = set()
        """Partitions whose records are taken one by one, as one among them cannot be parsed."""

    async def on_start(self) -> None:
        await super().on_start()
        self.app.membership.watch(self._ensure_consumer()._coordinator)

    def _create_worker_consumer(self, transport: Any) -> Any:
        conf, options = self.app.conf, self.app.options
        return aiokafka.AIOKafkaConsumer(
            client_id=options.instance_id,
            group_id=conf.id,
            group_instance_id=options.instance_id if options.static else None,
            bootstrap_servers=options.bootstrap,
            # Range hands out topics with equally many partitions together. Sticky leaves partitions with who has them,
            # whatever its id: a dynamic member gets a new one with each start.
            partition_assignment_strategy=[RangePartitionAssignor if options.static else StickyPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",  # So that we hear of it; `_reset_to_earliest` resets.
            isolation_level="read_committed",
            session_timeout_ms=int(options.session_timeout * 1000),
            heartbeat_interval_ms=int(options.heartbeat_interval * 1000),
            rebalance_timeout_ms=int(options.rebalance_timeout * 1000),
            # The loop polls twice a second even when every partition is paused; no poll: we hang.
            max_poll_interval_ms=int(options.max_poll_interval * 1000),
            # A partition that becomes ready is not in the fetch that is under way, and waits for its end.
            fetch_max_wait_ms=250,
            # Above the largest record anybody may write here: aiokafka cannot read one that is larger than this.
            max_partition_fetch_bytes=4 * 1024 * 1024,
            request_timeout_ms=30_000,
            # Only new metadata gives back the partitions of a topic that was deleted and created again.
            metadata_max_age_ms=10_000,
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
        self.group_metadata = ConsumerGroupMetadata(generation=generation_id, member_id=coordinator.member_id)
        self._out_of_range.clear()
        self._singly.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def check_errors(self) -> None:
        """Raise what has ended the member, also while it joins and nothing is fetched."""
        await self.call_thread(self._check_errors)

    async def _check_errors(self) -> None:
        consumer = self._ensure_consumer()
        if consumer._coordinator is not None:
            consumer._coordinator.check_errors()
        # The loop turns, as aiokafka is to know: it does not let a member join again that has not polled for too long.
        with consumer._subscription.fetch_context():
            pass

    async def fetch(self) -> dict[TP, Fetched]:
        """One chunk of each partition that is ready; waits a while for the first."""
        return await self.call_thread(self._fetch)  # type: ignore[no-any-return]

    async def _fetch(self) -> dict[TP, Fetched]:
        consumer = self._ensure_consumer()
        if consumer._closed:
            raise ConsumerStoppedError
        consumer._coordinator.check_errors()
        fetcher: Fetcher = consumer._fetcher
        if fetcher.error_future.done():
            fetcher.error_future.result()  # Its task has failed. Nothing else reports that.
        with consumer._subscription.fetch_context():
            fetched = await self._drain(consumer, fetcher)
            if not any(found.records for found in fetched.values()):
                await self._wait_for_records(fetcher)
                fetched = await self._drain(consumer, fetcher)
        return fetched

    async def _drain(self, consumer: Any, fetcher: Fetcher) -> dict[TP, Fetched]:
        # Nothing in here waits, so that the records, the assignment they came under and the set of partitions
        # that are ready belong together: none is taken from the fetcher without a task to process it.
        subscriptions = consumer._subscription
        # A process that was frozen begins nothing new before the broker has said that it still belongs.
        if subscriptions.reassignment_in_progress or not self.app.membership.confirmed():
            return {}
        fetched: dict[TP, Fetched] = {}
        for tp in self.app.partition_tasks.ready:
            state = subscriptions.subscription.assignment.state_value(tp)
            if state is None:
                continue
            start = self.app.partition_tasks.seeks.pop(tp, None)
            if start is not None:
                fetcher.seek_to(tp, start)
            if tp in self._out_of_range and state.has_valid_position:
                self._report_deleted_records(tp, self._out_of_range.pop(tp), state.position)
            records: Sequence[Record] = ()
            if tp in self._singly and type(fetcher._records.get(tp)) is FetchResult:
                records = self._fetched_singly(fetcher, tp, state)
            elif tp in fetcher._records:
                try:
                    found = await fetcher.fetched_records({tp}, 0, self.app.options.max_chunk)
                except (NoOffsetForPartitionError, OffsetOutOfRangeError) as nowhere:
                    self._reset_to_earliest(tp, state, nowhere)
                    continue
                except UnicodeDecodeError:
                    # What was read before the record in this call is lost with it: it is fetched again.
                    self._singly.add(tp)
                    self._fetch_again(fetcher, tp)
                    continue
                records = found.get(tp, ())
            if state.has_valid_position:
                fetched[tp] = Fetched(records, state.position, state.lso, state.highwater)
        return fetched

    def _fetched_singly(self, fetcher: Fetcher, tp: TP, state: Any) -> list[Record]:
        """What was fetched, up to a record that aiokafka cannot parse: one with a header whose name is not UTF-8. By
        itself, that one is replaced by a record that holds only its place."""
        result, records = fetcher._records[tp], list[Record]()
        try:
            while len(records) < self.app.options.max_chunk and (record := result.getone()) is not None:
                records.append(record)
        except UnicodeDecodeError:
            if not records:
                offset = result._partition_records.next_fetch_offset
                log.error(
                    "a record cannot be read: the name of a header is not UTF-8",
                    extra={"topic": tp.topic, "partition": tp.partition, "offset": offset},
                )
                records.append(UnparsedRecord(topic=tp.topic, partition=tp.partition, offset=offset))
                state.consumed_to(offset + 1)
            self._fetch_again(fetcher, tp)
            return records
        if not result.has_more():
            self._singly.discard(tp)
            self._fetch_again(fetcher, tp)
        return records

    def _fetch_again(self, fetcher: Fetcher, tp: TP) -> None:
        """From the present position."""
        del fetcher._records[tp]
        fetcher._notify(fetcher._wait_consume_future)

    def _reset_to_earliest(self, tp: TP, state: Any, nowhere: KafkaError) -> None:
        """A group that never committed begins at offset 0. One that did was to resume at the offset in the error."""
        self._out_of_range[tp] = nowhere.args[0][tp] if isinstance(nowhere, OffsetOutOfRangeError) else 0
        state.await_reset(OffsetResetStrategy.EARLIEST)

    def _report_deleted_records(self, tp: TP, wanted: int, begins: int) -> None:
        """What was committed is not repeated; records that were deleted unread are lost to this group."""
        if wanted == begins:
            return
        stream = self.app.stream_spec.name
        self.app.metrics.skipped.labels(stream, tp.topic).inc(deleted_unread(wanted, begins=begins, found=begins))
        log.error(
            "an offset no longer exists",
            extra={
                "stream": stream,
                "topic": tp.topic,
                "partition": tp.partition,
                "offset": wanted,
                "resuming_at": begins,
            },
        )

    async def _wait_for_records(self, fetcher: Fetcher) -> None:
        arrived = fetcher._create_fetch_waiter()
        self._woken = self.thread_loop.create_future()
        await asyncio.wait({arrived, self._woken}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if arrived.done():
            arrived.result()
        arrived.cancel()

    async def commit_as_member(self, group_metadata: ConsumerGroupMetadata, offsets: Mapping[TP, int]) -> str:
        """Commit as the member that was assigned the partitions, or not at all. How it went: done, refused
        (the group has moved on), failed (no answer)."""
        return await self.call_thread(self._commit_as_member, group_metadata, offsets)  # type: ignore[no-any-return]

    async def _commit_as_member(self, group_metadata: ConsumerGroupMetadata, offsets: Mapping[TP, int]) -> str:
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
                    if group_metadata != ConsumerGroupMetadata(
                        generation=coordinator.generation, member_id=coordinator.member_id
                    ):
                        return "refused"
                    await coordinator._do_commit_offsets(consumer._subscription.subscription.assignment, wanted)
        except _REBALANCED:
            return "refused"
        except TimeoutError:
            return "failed"
        except KafkaError as error:
            if not error.retriable:
                raise
            return "failed"
        return "done"
