"""Where the time of a revocation goes, from the moments that its records and receipts carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from confluent_kafka import TopicPartition

from consent_contracts import Codec, Topics, record_names
from consent_kafka import clients
from tests.bench.load import Sent

DELIVERED = ("accepted", "effective")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """One revocation on its way. Micros since the epoch; those of Kafka's own timestamps are whole milliseconds."""

    recorded: int
    produced: int
    merged: int
    found: int
    informed: int
    receipted: int

    def stages(self) -> dict[str, int]:
        """Micros by stage, in their order; they add up to the whole."""
        return {
            "accepted to Kafka: commit, relay": self.produced - self.recorded,
            "Kafka to merged: fetch, decode, join": self.merged - self.produced,
            "merged to pending: transaction, fetch, plan": self.found - self.merged,
            "pending to informed: batch window, HTTP": self.informed - self.found,
            "informed to receipt: HTTP answer": self.receipted - self.informed,
        }


def moments(
    servers: Any, topics: Topics, sent: Sequence[Sent], informed: Mapping[str, int], *, destination: str
) -> list[Moments]:
    """Of every revocation of which the destination was `informed` (by address key, when) and whose receipt is there."""
    codec = Codec.connect(servers.registry, topics)
    produced = {datum["decision_id"]: timestamp for datum, timestamp in _records(servers, codec, topics.changes)}
    merged: dict[str, int] = {}
    for datum, _ in _records(servers, codec, topics.suppression("sms")):
        for decision in datum["decisions"]:
            merged.setdefault(decision["decision_id"], datum["written_at"])
    receipts = {
        decision_id: datum
        for datum, _ in _records(servers, codec, topics.receipts)
        if datum["destination"] == destination and datum["stage"] in DELIVERED
        for decision_id in datum["decision_ids"]
    }
    return [
        Moments(
            recorded=each.recorded_at,
            produced=produced[each.decision_id],
            merged=merged[each.decision_id],
            found=receipts[each.decision_id]["queued_at"],
            informed=informed[each.address_key],
            receipted=receipts[each.decision_id]["reached_at"],
        )
        for each in sent
        if each.decision_id in receipts and each.address_key in informed
    ]


def _records(servers: Any, codec: Codec, topic: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Every main record of a topic with its append time in micros, up to an end that each partition once had."""
    consumer: Any = clients.consumer(servers.kafka, f"bench-{uuid4().hex[:8]}", enable_partition_eof=True)
    try:
        unread = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in unread])
        # Resolved timestamps go on being written, so a partition may end several times.
        while unread:
            for message in consumer.consume(1_000, timeout=0.5):
                if message.error() is not None:
                    unread.discard(message.partition())
                elif message.value() is not None:
                    name, datum = codec.decode_record(topic, message.value())
                    if name == record_names(topic)[0]:
                        yield datum, message.timestamp()[1] * 1_000
    finally:
        consumer.close()
