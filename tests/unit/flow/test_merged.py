"""What the merge has stated, as the rotation of a key reads it."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from consent_api.operations.republish.merged import merged_until

NOW = 100_000_000


class Message:
    def __init__(self, resolved_at: int | None) -> None:
        self._resolved_at = resolved_at

    def partition(self) -> int:
        return 0

    def error(self) -> KafkaError | None:
        return KafkaError(KafkaError._PARTITION_EOF) if self._resolved_at is None else None

    def value(self) -> bytes | None:
        return None if self._resolved_at is None else str(self._resolved_at).encode()


class Topic:
    """A consumer and a codec over the one record of a topic."""

    def __init__(self, resolved_at: int) -> None:
        self._messages = [Message(resolved_at), Message(None)]

    def assign(self, _: Any) -> None: ...

    def consume(self, *_: Any) -> list[Message]:
        return self._messages

    def decode(self, _: str, value: bytes, *, read_at: float | None = None) -> dict[str, Any]:
        times = {"resolved_at": int(value), "bulk_resolved_at": NOW, "inbound_resolved_at": None, "written_at": NOW}
        counts = {"partition": 0, "loss": 0, "bulk_loss": 0, "lists": [], "inputs": []}
        return {**times, **counts, "hole": None, "channel_holes": {}}


@pytest.mark.parametrize(
    ("resolved_at", "known"),
    [(NOW - 5, NOW - 5), (NOW + 1_000_000, NOW), (NOW + 3_600_000_000, None)],
    ids=["past", "within the tolerance", "of a fast clock"],
)
def test_a_time_ahead_of_the_present_is_not_known(resolved_at: int, known: int | None) -> None:
    topic: Any = Topic(resolved_at)
    assert merged_until(topic, topic, "consent.resolved.v1", 1, now=NOW) == known
