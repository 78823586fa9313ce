"""How many transactions were committed to a topic, by the offsets that their markers take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import confluent_kafka

from consent_kafka import clients
from consent_state import TopicPartition, high_watermarks

Ends = Mapping[TopicPartition, int]


def ends(bootstrap: str, topic: str, partitions: int) -> dict[TopicPartition, int]:
    """The high watermark of each partition."""
    return high_watermarks(
        clients.admin(bootstrap), [TopicPartition(topic, partition) for partition in range(partitions)]
    )


def transactions_between(bootstrap: str, begin: Ends, end: Ends) -> int:
    """Transactions between two moments. Each leaves one marker in every partition that it wrote to, so the partition
    that most of them wrote to counts."""
    records: Counter[int] = Counter()
    unread = {at.partition for at in begin if end[at] > begin[at]}
    consumer: Any = clients.consumer(bootstrap, f"bench-{uuid4().hex[:8]}", enable_partition_eof=True)
    try:
        consumer.assign([confluent_kafka.TopicPartition(*at, offset) for at, offset in begin.items()])
        while unread:
            for message in consumer.consume(1_000, timeout=0.5):
                partition = message.partition()
                if message.error() is not None:
                    unread.discard(partition)
                elif message.offset() < end[TopicPartition(message.topic(), partition)]:
                    records[partition] += 1
    finally:
        consumer.close()
    return max(end[at] - begin[at] - records[at.partition] for at in begin)
