"""A record as it came from the broker, nothing decoded: what the transport calls a Record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from confluent_kafka import Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumed:
    """`timestamp` in milliseconds since the epoch, -1 when the record has none."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @classmethod
    def of(cls, message: Message) -> Consumed:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is None or partition is None or offset is None:
            raise ValueError("not a record but an event of the client")
        headers = cast("list[tuple[str, str | bytes | None]] | None", message.headers())
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=message.timestamp()[1],
            key=_bytes(message.key()),
            value=_bytes(message.value()),
            headers=tuple((name, _bytes(value)) for name, value in headers) if headers else (),
        )

    @property
    def coordinates(self) -> str:
        """`topic:partition:offset`."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def _bytes(value: str | bytes | None) -> bytes | None:
    """The client hands over bytes; its type hints also allow text."""
    return value.encode() if isinstance(value, str) else value
