"""Reads partitions of several topics with one consumer, without a group: for tables restored from topics.

The position after each batch counts transaction markers and aborted records too, because it is taken from the ends that
librdkafka reports: "last record + 1" would never reach the end of a topic written by transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException

from consent_kafka import clients
from consent_state.errors import RestoreFailedError
from consent_state.positions import Position, TopicPartition


class Batch(NamedTuple):
    """Committed records of one partition in order of their offsets, and the position to store with their effect.

    `messages` is empty when only the position has moved, over transaction markers or aborted records.
    """

    partition: TopicPartition
    messages: list[Any]
    position: Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Remaining:
    """A partition whose position is still lower than the end to reach."""

    position: int
    end: int


class TableReader:
    """Reads on from given positions for as long as it is polled. Used by one thread."""

    def __init__(
        self,
        make_consumer: Callable[[], Consumer],
        starts: Mapping[TopicPartition, Position],
        *,
        max_messages: int = 10_000,
    ) -> None:
        """`make_consumer` gives a consumer as `table_consumer` configures it; a poll returns `max_messages` at most."""
        self._consumer: Any = make_consumer()
        self._max_messages = max_messages
        self._positions: dict[TopicPartition, Position] = {}
        self.assign(starts)

    @property
    def positions(self) -> Mapping[TopicPartition, Position]:
        """The position of each partition after the batches returned so far."""
        return MappingProxyType(self._positions)

    def assign(self, starts: Mapping[TopicPartition, Position]) -> None:
        """Read these partitions from here on, and no others."""
        self._positions = dict(starts)
        self._consumer.assign(
            [confluent_kafka.TopicPartition(at.topic, at.partition, start.offset) for at, start in starts.items()]
        )

    def poll(self, timeout: float) -> list[Batch]:
        """What has come within `timeout` seconds, at most one batch for each partition.

        Returns early when there is something. Raises RestoreFailedError when a position no longer exists or a topic is
        gone; a broker that cannot be reached only gives nothing.
        """
        positions = self._positions
        messages: dict[TopicPartition, list[Any]] = {}
        ends: dict[TopicPartition, int] = {}
        try:
            # `consume` waits until it has as many as asked for, or for all of the time.
            received = self._consumer.consume(1, timeout=timeout)
            if received:
                received += self._consumer.consume(self._max_messages - 1, timeout=0)
        except KafkaException as error:
            raise RestoreFailedError(f"reading topics: {error.args[0].name()}") from error
        for message in received:
            failure = message.error()
            at = (message.topic(), message.partition())
            if failure is None:
                # A plain tuple is equal to the TopicPartition, and a million of them cost half as much.
                if at in messages:
                    messages[at].append(message)
                else:
                    messages[TopicPartition(*at)] = [message]
            elif failure.code() == KafkaError._PARTITION_EOF:
                ends[TopicPartition(*at)] = message.offset()
            elif not failure.retriable():
                raise RestoreFailedError(f"reading {at[0]}:{at[1]}: {failure.name()}")
        batches = []
        for partition in messages.keys() | ends.keys():
            read = messages.get(partition, [])
            offset = max(read[-1].offset() + 1 if read else 0, ends.get(partition, 0))
            before = positions[partition]
            if offset > before.offset:
                positions[partition] = Position(before.topic_id, offset)
                batches.append(Batch(partition, read, positions[partition]))
        return batches

    def remaining(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, Remaining]:
        """Which partitions have not been read up to these ends. Empty: restored."""
        return {
            at: Remaining(position=self._positions[at].offset, end=end)
            for at, end in ends.items()
            if self._positions[at].offset < end
        }

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()


def table_consumer(
    bootstrap: str, name: str, client_config: Mapping[str, Any] | None = None, **overrides: Any
) -> Consumer:
    """A consumer for a TableReader: committed records only, reports ends, never decides where to begin.

    librdkafka requires `name` as a group; the group is never joined and nothing is committed to it.
    """
    settings = {
        "auto_offset_reset": "error",
        "enable_partition_eof": True,
        "max_partition_fetch_bytes": 8 * 1024 * 1024,
        "fetch_queue_backoff_ms": 10,
    }
    return clients.consumer(bootstrap, name, client_config, **{**settings, **overrides})
