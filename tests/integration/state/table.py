"""Topics of a test's own, what is written to them, and a store restored from them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka.admin import AdminClient, NewTopic

from consent_kafka import clients
from consent_state import (
    Batch,
    RestoreFailedError,
    Start,
    StateStore,
    TableReader,
    TopicPartition,
    WriteBatch,
    high_watermarks,
    restore,
    start_positions,
    table_consumer,
    topic_ids,
)
from tests.support.waiting import until


@dataclass
class Table:
    """Partition 0 of two compacted topics, and a directory for the store that holds them."""

    bootstrap: str
    directory: Path
    waits: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.admin: AdminClient = clients.admin(self.bootstrap)
        name = uuid4().hex[:8]
        self.first, self.second = (TopicPartition(f"state-{name}-{number}", 0) for number in (1, 2))
        self.partitions = [self.first, self.second]
        self.create(*self.partitions)

    def create(self, *partitions: TopicPartition) -> None:
        config = {"cleanup.policy": "compact"}
        topics = [NewTopic(at.topic, 1, 1, config=config) for at in partitions]
        for created in self.admin.create_topics(topics).values():
            created.result()
        until(lambda: self.exist(*partitions))

    def exist(self, *partitions: TopicPartition) -> bool:
        try:
            topic_ids(self.admin, (at.topic for at in partitions))
            high_watermarks(self.admin, partitions)
        except RestoreFailedError:
            return False
        return True

    def recreate(self, at: TopicPartition) -> None:
        self.delete(at)
        until(lambda: not self.exist(at))
        self.create(at)

    def delete(self, *partitions: TopicPartition) -> None:
        for deleted in self.admin.delete_topics([at.topic for at in partitions]).values():
            deleted.result()

    def transaction(self, rows: Mapping[bytes, bytes | None], at: TopicPartition | None = None) -> Any:
        """A producer with an open transaction whose records the broker holds."""
        producer: Any = clients.transactional_producer(self.bootstrap, f"t-{uuid4().hex[:8]}")
        producer.init_transactions(20)
        producer.begin_transaction()
        for key, value in rows.items():
            producer.produce((at or self.first).topic, value, key, 0)
        assert producer.flush(10) == 0
        return producer

    def commit(self, rows: Mapping[bytes, bytes | None], at: TopicPartition | None = None) -> None:
        self.transaction(rows, at).commit_transaction(20)

    def open(self) -> StateStore:
        return StateStore.open(self.directory, format_version=1, partitions=1)

    def reader(self, start: Start) -> TableReader:
        return TableReader(lambda: table_consumer(self.bootstrap, "state-tests"), start.positions)

    def restore(self, store: StateStore) -> Start:
        """Bring the store to the high watermarks."""
        start = start_positions(store, self.admin, self.partitions)
        reader = self.reader(start)
        try:
            restore(
                store,
                reader,
                high_watermarks(self.admin, self.partitions),
                admin=self.admin,
                apply=apply,
                waiting=self.waits.append,
                beat=lambda: None,
                stopping=self.stopping,
            )
        finally:
            reader.close()
        return start


def apply(batch: Batch, writes: WriteBatch) -> None:
    for message in batch.messages:
        key = row_key(batch.partition, message.key())
        if message.value() is None:
            writes.delete(key)
        else:
            writes.put(key, message.value())


def row_key(at: TopicPartition, key: bytes) -> bytes:
    return at.topic.encode() + b"\0" + key


def rows(store: StateStore, at: TopicPartition) -> dict[bytes, bytes]:
    """What the store holds of one topic."""
    prefix = row_key(at, b"")
    return {key.removeprefix(prefix): value for key, value in store.scan(prefix, prefix + b"\xff")}
