"""All records of a topic, as a foreign reader sees them: committed records, in order within a partition."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition


def records(kafka: str, topic: str, *, seconds: float = 30.0) -> Iterator[Message]:
    """From the beginning to the end as it is now. Raises KafkaException."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "test-reader",  # never joined
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    try:
        described = consumer.list_topics(topic, timeout=seconds).topics[topic]
        unfinished = set(described.partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unfinished])
        while unfinished:
            first = consumer.poll(seconds)
            assert first is not None, f"{topic} was not read within {seconds:.0f} s"
            for message in (first, *consumer.consume(1_000, 0)):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
                elif not error.retriable():
                    raise KafkaException(error)
    finally:
        consumer.close()
