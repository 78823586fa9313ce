"""A record as it came from the broker, nothing decoded: what the transport calls a Record."""

from __future__ import annotations

from dataclasses import dataclass, replace

from confluent_kafka import Message

from consent_kafka import clients
from consent_kafka.batches import MAX_VALUE_BYTES, RecordBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumed:
    """`timestamp` in milliseconds since the epoch, -1 when the record has none. `unfetchable`: why only its place is
    known. It is then the last record of a batch that could not be unpacked, or one that is too large."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    unfetchable: str | None = None
    unfetchable_from: int | None = None
    """The first offset of that batch."""

    @property
    def first(self) -> int:
        return self.offset if self.unfetchable_from is None else self.unfetchable_from

    @classmethod
    def of(cls, message: Message) -> Consumed:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is None or partition is None or offset is None:
            raise ValueError("not a record but an event of the client")
        value, timestamp = clients.as_bytes(message.value()), message.timestamp()[1]
        if value is not None and len(value) > MAX_VALUE_BYTES:
            reason = f"its value of {len(value)} bytes is larger than any of ours"
            return cls._unfetchable(topic, partition, offset, timestamp, reason)
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=timestamp,
            key=clients.as_bytes(message.key()),
            value=value,
            headers=tuple(clients.headers(message)),
        )

    @classmethod
    def last_of(cls, topic: str, partition: int, batch: RecordBatch) -> Consumed:
        """The last record of a batch that could not be unpacked."""
        record = cls._unfetchable(topic, partition, batch.last, batch.timestamp, batch.description)
        return replace(record, unfetchable_from=batch.first)

    @classmethod
    def _unfetchable(cls, topic: str, partition: int, offset: int, timestamp: int, reason: str) -> Consumed:
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=timestamp,
            key=None,
            value=None,
            headers=(),
            unfetchable=reason,
        )

    @property
    def coordinates(self) -> str:
        """`topic:partition:offset`."""
        return f"{self.topic}:{self.partition}:{self.offset}"
