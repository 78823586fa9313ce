"""What came once comes again, in any order: changes and receipts."""

from __future__ import annotations

import random

from confluent_kafka import Producer

from consent_contracts import Topics
from local_stack.endpoints import Endpoints
from tests.support.topic_records import records

AGAIN = 400
"""Records of each topic that are produced again, old ones after new ones."""


def repeat(endpoints: Endpoints, rng: random.Random) -> int:
    """Produce some of our own records again, as they were, in an order of their own; how many."""
    topics, count = Topics(prefix=endpoints.topic_prefix), 0
    producer = Producer({"bootstrap.servers": endpoints.kafka, "enable.idempotence": True})
    for topic in (topics.changes, topics.changes_bulk, topics.receipts):
        # The poison has no headers; said twice it would only be two dead letters.
        ours = [message for message in records(endpoints.kafka, topic) if message.headers()]
        for message in rng.sample(ours, min(AGAIN, len(ours))):
            partition = message.partition()
            assert partition is not None
            producer.produce(topic, message.value(), message.key(), partition, headers=message.headers())
            count += 1
    assert not producer.flush(60), "the broker did not take the repetitions"
    return count
