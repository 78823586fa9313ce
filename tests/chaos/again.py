"""What came once comes again, in any order: changes, receipts, and every entry for one destination."""

from __future__ import annotations

import random
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from consent_contracts import Topics
from local_stack.endpoints import Endpoints
from tests.topic_records import records

AGAIN = 400
"""Records of each topic that are produced again, old ones after new ones."""
GROUP_SECONDS = 60.0
"""A group counts as in use until the session of the worker that has ended is over."""


def repeat(endpoints: Endpoints, rng: random.Random) -> int:
    """Produce some of our own records again, as they were, in an order of their own; how many."""
    topics, count = Topics(prefix=endpoints.topic_prefix), 0
    producer = Producer({"bootstrap.servers": endpoints.kafka, "enable.idempotence": True})
    for topic in (topics.changes, topics.receipts):
        # The poison has no headers; said twice it would only be two dead letters.
        ours = [message for message in records(endpoints.kafka, topic) if message.headers()]
        for message in rng.sample(ours, min(AGAIN, len(ours))):
            partition = message.partition()
            assert partition is not None
            producer.produce(topic, message.value(), message.key(), partition, headers=message.headers())
            count += 1
    assert not producer.flush(60), "the broker did not take the repetitions"
    return count


def rewind(endpoints: Endpoints, destination: str, channel: str) -> None:
    """The destination's group begins anew. Its workers have ended."""
    topics = Topics(prefix=endpoints.topic_prefix)
    consumer = Consumer({"bootstrap.servers": endpoints.kafka, "group.id": topics.group(f"propagator.{destination}")})
    topic, deadline = topics.suppression(channel), time.monotonic() + GROUP_SECONDS
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        while True:
            try:
                consumer.commit(offsets=[TopicPartition(topic, each, 0) for each in partitions], asynchronous=False)
            except KafkaException:
                assert time.monotonic() < deadline, "the group is still in use"
                time.sleep(0.5)
            else:
                return
    finally:
        consumer.close()
