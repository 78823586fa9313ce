"""Lag against a real broker: transactions, groups without members, and nothing to read behind the last commit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from consent_contracts import Topics
from consent_runtime import kafka as kafka_clients
from lag_exporter.kafka_broker import KafkaBroker
from lag_exporter.lag import BrokerAway, Lags, Place


@pytest.fixture
def lags(kafka: str, topics: Topics) -> Iterator[Lags]:
    broker = KafkaBroker(kafka, group=topics.group("lag"))
    yield Lags(broker=broker, prefix=topics.prefix, topics=frozenset(spec.name for spec in topics.specs()))
    broker.close()


def write(kafka: str, topics: Topics, count: int, *, abort: bool = False) -> None:
    """One transaction on partition 1."""
    producer: Any = kafka_clients.transactional_producer(kafka, topics.group("writer"), compression_type="none")
    producer.init_transactions(10)
    producer.begin_transaction()
    for n in range(count):
        producer.produce(topics.changes, b"value", b"key-%d" % n, 1)
    if abort:
        producer.flush(10)
        producer.abort_transaction(10)
    else:
        producer.commit_transaction(10)


def commit(kafka: str, topics: Topics, offset: int) -> None:
    consumer: Any = kafka_clients.consumer(kafka, topics.group("suppression"))
    consumer.commit(offsets=[TopicPartition(topics.changes, 1, offset)], asynchronous=False)
    consumer.close()


def test_lag_of_a_group_whose_consumer_is_gone(kafka: str, topics: Topics, lags: Lags) -> None:  # R39
    write(kafka, topics, 10)
    commit(kafka, topics, 4)
    [lag] = lags.look(time.time() + 100)
    assert lag.group == topics.group("suppression")
    assert (lag.topic, lag.partition, lag.records) == (topics.changes, 1, 7)  # six records and a marker
    assert 95 < lag.seconds < 130


def test_nothing_left_but_markers_and_aborted_records_is_no_lag(kafka: str, topics: Topics, lags: Lags) -> None:
    write(kafka, topics, 10)
    commit(kafka, topics, 10)
    write(kafka, topics, 5, abort=True)
    [lag] = lags.look(time.time())
    assert (lag.records, lag.seconds) == (0, 0.0)


def test_broker_that_does_not_answer_is_no_broker_without_groups() -> None:
    broker = KafkaBroker("127.0.0.1:1", group="lag")
    with pytest.raises(BrokerAway):
        broker.groups("")
    broker.close()


def test_member_that_has_committed_nothing_is_seen(kafka: str, topics: Topics, lags: Lags) -> None:
    write(kafka, topics, 3)
    consumer: Any = kafka_clients.consumer(kafka, topics.group("suppression"))
    consumer.subscribe([topics.changes])
    deadline = time.monotonic() + 30
    while not consumer.assignment():
        assert time.monotonic() < deadline
        consumer.poll(0.1)
    found = {Place(lag.topic, lag.partition): lag.records for lag in lags.look(time.time())}
    assert found == {
        Place(topics.changes, 0): 0,
        Place(topics.changes, 1): 4,
        Place(topics.changes, 2): 0,
        Place(topics.changes, 3): 0,
    }
    consumer.close()
