"""Resets a consumer group, as an operator would."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaException, TopicPartition


def rewind(kafka: str, group: str, topic: str, *, seconds: float) -> None:
    """To the first record of every partition. The group's workers have ended, but it counts as in use until their
    sessions are over: that is waited for, up to ``seconds``."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group})
    deadline = time.monotonic() + seconds
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
