"""Reads suppression.resolved.v1: which holes are open, partition by partition. By plain assignment, without a group."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from consent_api.outbox_relay.holes import ReportedHole, reported_holes
from consent_contracts.checks import decode_resolved
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, UnreadableError

log = logging.getLogger(__name__)

# Uncommitted records too, as the merge reads its topic: another's open transaction there must not hide the holes.
CONSUMER: dict[str, Any] = {
    "enable_partition_eof": True,
    "fetch_wait_max_ms": 200,
    "isolation_level": "read_uncommitted",
}
_BATCH = 1_000


class HoleReader:
    """The newest ListResolved of each partition. One thread."""

    def __init__(self, *, consumer: Consumer, codec: Codec, topic: str, bulk_topic: str, partitions: int) -> None:
        self.topic = topic
        self._consumer = consumer
        self._codec = codec
        self._bulk_topic = bulk_topic
        self._partitions = partitions
        self._newest: dict[int, dict[str, Any]] = {}
        self._unread: set[int] = set()

    def start(self) -> None:
        """Read from the beginning: the topic is compacted and short."""
        self._unread = set(range(self._partitions))
        self._consumer.assign([TopicPartition(self.topic, each, OFFSET_BEGINNING) for each in self._unread])

    def poll(self, seconds: float) -> None:
        """Read what has arrived, waiting up to `seconds` for it. Raises RegistryUnavailableError for a new schema."""
        arrived: dict[int, Message] = {}
        for message in self._consumer.consume(_BATCH, seconds):
            partition, error = message.partition(), message.error()
            if partition is None:
                continue
            if error is None:
                arrived[partition] = message
            elif error.code() == KafkaError._PARTITION_EOF:
                self._unread.discard(partition)
        for partition, message in arrived.items():
            self._read(partition, message)

    def close(self) -> None:
        self._consumer.close()

    def _read(self, partition: int, message: Message) -> None:
        value = message.value()
        try:
            self._newest[partition] = decode_resolved(
                self._codec, self.topic, value if isinstance(value, bytes) else None, partition=partition
            )
        except (UnreadableError, InvalidRecordError) as error:
            where = {"partition": partition, "offset": message.offset(), "error": str(error)}
            log.error("a record of the resolved topic cannot be read", extra=where)

    def open_holes(self) -> list[ReportedHole]:
        """What is reported now; nothing before every partition was read to its end once, as older records may name
        holes that are closed."""
        if self._unread:
            return []
        return [
            each for record in self._newest.values() for each in reported_holes(record, bulk_topic=self._bulk_topic)
        ]
