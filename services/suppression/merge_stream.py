"""The merge as a stream: which group, which topics, and how a partition becomes ready."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer

from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_kafka import clients
from consent_kafka.dead_letters import AsyncDeadLetterProducer
from consent_kafka.transport import Ownership, StreamSpec
from consent_service.clock import now_micros
from consent_service.clock_check import ClockCheck
from consent_service.health import Health
from consent_state import Compactor, table_consumer
from suppression.merge.lanes import Lane
from suppression.merge.seals import SealRank, any_seal
from suppression.metrics import MergeMetrics
from suppression.partition.handler import LaneHandler, MergeTask
from suppression.partition.merge_partition import MergePartition
from suppression.partition.opening import Opening
from suppression.partition.restore import StateRestorer
from suppression.partition.store import EntryStore
from suppression.partition.writer import FencedWriter
from suppression.resolved.broker_facts import BrokerFacts
from suppression.resolved.list_state import ListTopics
from suppression.resolved.publisher import ResolvedPublisher
from suppression.resolved.topic import ResolvedTopic

GROUP = "suppression"

_RESOLVED_DELIVERY_MS = 10_000
"""A resolved record that has waited that long is given up: a newer one follows."""


class MergePartitionFactory:
    """Builds a partition's parts when it is assigned. Adapters come in by the constructor."""

    def __init__(
        self,
        *,
        topics: Topics,
        partitions: int,
        state_dir: Path,
        instance_id: str,
        transaction_timeout: float,
        codec: Codec,
        open_dead_letters: Callable[[], AsyncDeadLetterProducer],
        metrics: MergeMetrics,
        health: Health,
        bootstrap: str,
        clock_check: ClockCheck | None = None,
        client_config: Mapping[str, Any] | None = None,
        seal_rank: SealRank = any_seal,
        compactor: Compactor | None = None,
    ) -> None:
        """`open_dead_letters` is called in the loop; `client_config` holds security settings by librdkafka's names.

        `compactor`: what erasures replace leaves the files of the local state by it."""
        self._topics = topics
        self._partitions = partitions
        # By instance: a frozen worker keeps its state locked while another takes the partition over.
        self._state_dir = state_dir / _file_name(topics.prefix or "default") / _file_name(instance_id)
        self._transaction_timeout_ms = int(transaction_timeout * 1000)
        self._codec = codec
        self._open_dead_letters = open_dead_letters
        self._dead_letters: AsyncDeadLetterProducer | None = None
        self._metrics = metrics
        self._health = health
        self._bootstrap = bootstrap
        self._clock_check = clock_check or ClockCheck()
        self._client_config = client_config
        self._seal_rank = seal_rank
        self._compactor = compactor
        self._admin = clients.admin(bootstrap, {"log_level": 2, **(client_config or {})})
        self._list_topics = ListTopics(
            inputs={Lane.LIVE: topics.changes, Lane.BULK: topics.changes_bulk},
            channels={topics.suppression(channel): channel for channel in topics.channels},
        )
        self._resolved_producer: clients.AsyncProducer | None = None
        self._executors: dict[int, ThreadPoolExecutor] = {}
        self._openings: dict[int, Opening] = {}
        self.fail: Callable[[BaseException], None] = _raise
        """What ends the process when a partition fails between two chunks: the app's `fail`, once there is one."""

    def stream(self) -> StreamSpec:
        """What the transport runs."""
        return StreamSpec(
            name=GROUP,
            group=self._topics.group(GROUP),
            topics=tuple(self._list_topics.inputs.values()),
            open=self._open,
        )

    def close(self) -> None:
        """After the transport has ended."""
        for executor in self._executors.values():
            executor.shutdown(wait=False)
        if self._resolved_producer is not None:
            self._resolved_producer.close()

    async def _open(self, topic: str, partition: int, ownership: Ownership) -> LaneHandler:
        [lane] = [lane for lane, name in self._list_topics.inputs.items() if name == topic]
        opening = self._openings.get(partition)
        if opening is None or opening.ended:
            opening = self._openings[partition] = Opening(partial(self._open_task, partition))
        task = await opening.join(lane, ownership)
        ownership.read_from(task.position(lane))
        return LaneHandler(task, lane)

    async def _open_task(self, partition: int, ownerships: Mapping[Lane, Ownership]) -> MergeTask:
        if self._dead_letters is None:
            self._dead_letters = self._open_dead_letters()
        if partition not in self._executors:
            self._executors[partition] = ThreadPoolExecutor(1, thread_name_prefix=f"merge-{partition}")
        part = f"partition {partition}"

        def owned() -> bool:
            return all(ownership.is_confirmed() for ownership in ownerships.values())

        def report(state: bool | str) -> None:
            self._health.set_ready(part, state)

        def beat() -> None:
            self._health.heartbeat(part)

        def busy(state: bool) -> None:
            beat() if state else self._health.at_rest(part)

        task = MergeTask(
            self.partition(partition, owned=owned, report=report, beat=beat),
            self._publisher(partition, owned),
            self._executors[partition],
            self._dead_letters,
            report=report,
            busy=busy,
            on_closed=lambda: self._health.unregister(part),
            on_error=lambda failure: self.fail(failure),
            reopen=ownerships[Lane.LIVE].reopen,
        )
        await task.open()
        return task

    def _publisher(self, partition: int, owned: Callable[[], bool]) -> ResolvedPublisher:
        if self._resolved_producer is None:
            self._resolved_producer = clients.AsyncProducer(
                self._bootstrap,
                self._client_config,
                delivery_timeout_ms=_RESOLVED_DELIVERY_MS,
            )
        return ResolvedPublisher(
            partition=partition,
            list_topics=self._list_topics,
            resolved_topic=ResolvedTopic(
                make_consumer=self._resolved_consumer,
                admin=self._admin,
                producer=self._resolved_producer,
                codec=self._codec,
                topics=self._topics,
                list_topics=self._list_topics,
                partition=partition,
            ),
            ask_facts=BrokerFacts(self._admin, self._list_topics, partition),
            metrics=self._metrics,
            owned=owned,
            clock=now_micros,
            clock_check=self._clock_check,
        )

    def partition(
        self,
        partition: int,
        *,
        owned: Callable[[], bool],
        report: Callable[[bool | str], None],
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = now_micros,
    ) -> MergePartition:
        """One partition's merge, not yet open."""
        stopping = threading.Event()
        return MergePartition(
            partition=partition,
            topics=self._topics,
            codec=self._codec,
            writer=FencedWriter(lambda: self._producer(partition), partition, stopping=stopping, beat=beat),
            restorer=StateRestorer(
                make_consumer=self._consumer,
                admin=self._admin,
                codec=self._codec,
                channels=self._list_topics.channels,
                partition=partition,
                stopping=stopping,
            ),
            open_store=lambda: EntryStore.open(
                self._state_dir / str(partition),
                partitions=self._partitions,
                on_rebuild=lambda rebuild: self._metrics.state_rebuilds.labels(rebuild.reason).inc(),
                compactor=self._compactor,
            ),
            seal_rank=self._seal_rank,
            metrics=self._metrics,
            owned=owned,
            report=report,
            beat=beat,
            stopping=stopping,
            clock=clock,
        )

    def _producer(self, partition: int) -> Producer:
        return clients.transactional_producer(
            self._bootstrap,
            self._topics.group(f"suppression-{partition}"),
            self._client_config,
            transaction_timeout_ms=self._transaction_timeout_ms,
            delivery_timeout_ms=self._transaction_timeout_ms,
        )

    def _consumer(self) -> Consumer:
        return table_consumer(self._bootstrap, self._topics.group("suppression-restore"), self._client_config)

    def _resolved_consumer(self) -> Consumer:
        return table_consumer(
            self._bootstrap,
            self._topics.group("suppression-resolved"),
            self._client_config,
            isolation_level="read_uncommitted",
        )


def _raise(failure: BaseException) -> None:
    raise failure


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)
