"""Records that no reader can read, one of each kind into each topic, and their coordinates."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator

from confluent_kafka import Message, Producer

from consent_contracts import Topics
from consent_contracts.codec import Codec
from consent_contracts.topics import SERVICES
from consent_kafka.dead_letters import record_coordinates
from local_stack.endpoints import Endpoints

UNKNOWN_ID = 2_000_000_000
Make = Callable[["Poison", str], bytes]


class Poison:
    """``places``: topic to the places (topic:partition:offset) of the poison in it, as dead letters name them."""

    def __init__(self, endpoints: Endpoints, *, partitions: int, seed: int) -> None:
        self.topics = Topics(prefix=endpoints.topic_prefix)
        self.codec = Codec.connect(endpoints.registry, self.topics)
        self.places: dict[str, set[str]] = defaultdict(set)
        self.random = random.Random(seed)
        self._partitions = partitions
        self._producer = Producer({"bootstrap.servers": endpoints.kafka, "enable.idempotence": True})
        self._number = 0
        self._next = self._every_kind_everywhere()

    def send(self, count: int, *, seconds: float = 60.0) -> None:
        """The next ``count``; returns when the broker has acknowledged them."""
        for topic, make in itertools.islice(self._next, count):
            self._number += 1
            set_aside = topic in map(self.topics.dead_letters, SERVICES)
            partition, key = self.random.randrange(1 if set_aside else self._partitions), self._key(topic)
            self._producer.produce(topic, make(self, topic), key, partition, on_delivery=self._delivered)
        assert not self._producer.flush(seconds), "the broker did not take the poison"

    def _delivered(self, error: object, message: Message) -> None:
        assert error is None, error
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        self.places[topic].add(record_coordinates(topic, partition, offset).decode())

    def _every_kind_everywhere(self) -> Iterator[tuple[str, Make]]:
        topics = self.topics
        names = [
            topics.inbound,
            topics.inbound_bulk,
            topics.changes,
            topics.changes_bulk,
            topics.receipts,
            *map(topics.suppression, topics.channels),
            *map(topics.dead_letters, SERVICES),
        ]
        pairs = list(itertools.product(names, (_noise, _empty, _cut_off, _unknown_schema, _other_record)))
        while True:
            yield from self.random.sample(pairs, len(pairs))

    def _key(self, topic: str) -> bytes | None:
        compacted = topic in map(self.topics.suppression, self.topics.channels)
        keys = [f"poison-{self._number}".encode(), b"\xff\x00" + self.random.randbytes(6)]
        return self.random.choice(keys if compacted else [*keys, None])


def _noise(poison: Poison, topic: str) -> bytes:
    return b"\x7b" + poison.random.randbytes(60)


def _empty(poison: Poison, topic: str) -> bytes:
    return b""


def _cut_off(poison: Poison, topic: str) -> bytes:
    return _header(poison.codec.schema_id(topic)) + b"\x08"


def _unknown_schema(poison: Poison, topic: str) -> bytes:
    return _header(UNKNOWN_ID) + poison.random.randbytes(20)


def _other_record(poison: Poison, topic: str) -> bytes:
    other = poison.topics.dead_letters("propagator")
    return _header(poison.codec.schema_id(other)) + b"\x08"


def _header(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big")
