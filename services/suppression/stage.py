"""The merge as a stream: which group, which topic, and how a partition becomes ready."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer

from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_runtime import kafka
from consent_runtime.dead_letters import DeadLetters
from consent_runtime.observability import Health
from consent_runtime.transport import Ownership, Stream
from consent_state import table_consumer

from .handler import MergeHandler
from .metrics import MergeMetrics
from .partition import MergePartition, now_micros
from .restore import StateRestorer
from .store import EntryStore
from .writer import FencedWriter

GROUP = "suppression"


class MergeStage:
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
        open_dead_letters: Callable[[], DeadLetters],
        metrics: MergeMetrics,
        health: Health,
        bootstrap: str,
        client_config: Mapping[str, Any] | None = None,
    ) -> None:
        """`open_dead_letters` is called in the loop; `client_config` holds security settings by librdkafka's names."""
        self._topics = topics
        self._partitions = partitions
        # By instance: a frozen worker keeps its state locked while another takes the partition over.
        self._state_dir = state_dir / _file_name(topics.prefix or "default") / _file_name(instance_id)
        self._transaction_timeout_ms = int(transaction_timeout * 1000)
        self._codec = codec
        self._open_dead_letters = open_dead_letters
        self._dead_letters: DeadLetters | None = None
        self._metrics = metrics
        self._health = health
        self._bootstrap = bootstrap
        self._client_config = client_config
        self._admin = kafka.admin(bootstrap, {"log_level": 2, **(client_config or {})})
        self._lanes: dict[int, ThreadPoolExecutor] = {}
        self.fail: Callable[[BaseException], None] = _raise
        """What ends the process when a partition fails between two chunks: the app's `fail`, once there is one."""

    def stream(self) -> Stream:
        """What the transport runs."""
        return Stream(name=GROUP, group=self._topics.group(GROUP), topics=(self._topics.changes,), open=self._open)

    def close(self) -> None:
        """After the transport has ended."""
        for lane in self._lanes.values():
            lane.shutdown(wait=False)

    async def _open(self, topic: str, partition: int, ownership: Ownership) -> MergeHandler:
        if self._dead_letters is None:
            self._dead_letters = self._open_dead_letters()
        if partition not in self._lanes:
            self._lanes[partition] = ThreadPoolExecutor(1, thread_name_prefix=f"merge-{partition}")
        part = f"partition {partition}"
        merging = self.partition(partition, owned=ownership.fresh, report=lambda state: self._health.ready(part, state))
        handler = MergeHandler(
            merging,
            self._lanes[partition],
            self._dead_letters,
            released=lambda: self._health.forget(part),
            failed=lambda failure: self.fail(failure),
        )
        await handler.open()
        return handler

    def partition(
        self,
        partition: int,
        *,
        owned: Callable[[], bool],
        report: Callable[[bool | str], None],
        clock: Callable[[], int] = now_micros,
    ) -> MergePartition:
        """One partition's merge, not yet open."""
        stopping = threading.Event()
        return MergePartition(
            partition=partition,
            topics=self._topics,
            codec=self._codec,
            writer=FencedWriter(lambda: self._producer(partition), partition, stopping=stopping),
            restorer=StateRestorer(
                make_consumer=self._consumer,
                admin=self._admin,
                codec=self._codec,
                channels={self._topics.suppression(channel): channel for channel in self._topics.channels},
                partition=partition,
                stopping=stopping,
            ),
            open_store=lambda: EntryStore.open(
                self._state_dir / str(partition),
                partitions=self._partitions,
                on_rebuild=lambda rebuild: self._metrics.state_rebuilds.labels(rebuild.reason).inc(),
            ),
            metrics=self._metrics,
            owned=owned,
            report=report,
            stopping=stopping,
            clock=clock,
        )

    def _producer(self, partition: int) -> Producer:
        return kafka.transactional_producer(
            self._bootstrap,
            self._topics.group(f"suppression-{partition}"),
            self._client_config,
            transaction_timeout_ms=self._transaction_timeout_ms,
            delivery_timeout_ms=self._transaction_timeout_ms,
            # Strangers read these topics, and not every client knows every codec (kafkajs: gzip alone). A topic's own
            # compression.type still decides how the broker keeps them.
            compression_type="none",
        )

    def _consumer(self) -> Consumer:
        return table_consumer(self._bootstrap, self._topics.group("suppression-restore"), self._client_config)


def _raise(failure: BaseException) -> None:
    raise failure


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)
