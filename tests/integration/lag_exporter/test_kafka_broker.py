"""Lag against a real broker: transactions, groups without members, and nothing to read behind the last commit."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from consent_contracts import Codec, Topics
from consent_kafka import clients as kafka_clients
from consent_service.clock import now_micros
from consent_service.clock_check import ClockCheck
from lag_exporter.errors import BrokerUnavailableError
from lag_exporter.kafka_broker import KafkaBroker
from lag_exporter.lag import LagReader, Partition
from lag_exporter.resolved import ResolvedReader, ages, holes
from tests.integration.proxy import Proxy
from tests.support.unpacking_bombs import send_bomb


@pytest.fixture
def lags(kafka: str, topics: Topics) -> Iterator[LagReader]:
    broker = KafkaBroker(kafka, group=topics.group("lag"))
    yield LagReader(broker=broker, prefix=topics.prefix, topics=frozenset(spec.name for spec in topics.specs()))
    broker.close()


def write(kafka: str, topics: Topics, count: int, *, abort: bool = False) -> None:
    """One transaction on partition 1."""
    producer: Any = kafka_clients.transactional_producer(kafka, topics.group("writer"))
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


def test_lag_of_a_group_whose_consumer_is_gone(kafka: str, topics: Topics, lags: LagReader) -> None:  # R39
    write(kafka, topics, 10)
    commit(kafka, topics, 4)
    [lag] = lags.read(time.time() + 100).lags
    assert lag.group == topics.group("suppression")
    assert (lag.topic, lag.partition, lag.records) == (topics.changes, 1, 7)  # six records and a marker
    assert 95 < lag.seconds < 130


def test_nothing_left_but_markers_and_aborted_records_is_no_lag(kafka: str, topics: Topics, lags: LagReader) -> None:
    write(kafka, topics, 10)
    commit(kafka, topics, 10)
    write(kafka, topics, 5, abort=True)
    [lag] = lags.read(time.time()).lags
    assert (lag.records, lag.seconds) == (0, 0.0)


def test_records_deleted_unread_are_no_lag(kafka: str, topics: Topics, lags: LagReader) -> None:
    write(kafka, topics, 10)
    commit(kafka, topics, 4)
    write(kafka, topics, 10)
    assert [lag.records for lag in lags.read(time.time()).lags] == [18]
    admin = AdminClient({"bootstrap.servers": kafka})
    [deleted] = admin.delete_records([TopicPartition(topics.changes, 1, -1)]).values()
    deleted.result(20)
    [lag] = lags.read(time.time()).lags
    assert (lag.records, lag.seconds) == (0, 0.0)


def test_group_at_rest_behind_holes_and_markers_has_no_lag(kafka: str, topics: Topics, lags: LagReader) -> None:
    """Transactions of one record, every second one aborted: more markers and holes than records."""
    for n in range(6):
        write(kafka, topics, 1, abort=n % 2 == 1)
    for at, records in ((0, 12), (7, 5), (8, 4), (9, 0), (10, 0), (11, 0), (12, 0)):
        commit(kafka, topics, at)
        [lag] = lags.read(time.time()).lags
        assert lag.records == records, at
        assert (lag.seconds == 0.0) is (records == 0)


def test_coordinator_that_is_unavailable_and_returns_ends_nothing(kafka: str, topics: Topics) -> None:
    """The admin client's own call for offsets ends the process with SIGSEGV then (librdkafka #5040)."""
    write(kafka, topics, 10)
    commit(kafka, topics, 4)
    place = Partition(topics.changes, 1)
    with Proxy(kafka, kafka=True) as proxy:
        broker = KafkaBroker(proxy.address, group="lag")
        watching = LagReader(broker=broker, prefix=topics.prefix, topics=frozenset({topics.changes}))
        assert [lag.records for lag in watching.read(time.time()).lags] == [7]
        proxy.cut()
        for group in (topics.group("suppression"), "a group not asked for before"):
            with pytest.raises(BrokerUnavailableError):
                broker.committed(group, [place])
        proxy.heal()
        deadline = time.monotonic() + 30
        answers: list[object] = []
        while 7 not in answers:
            assert time.monotonic() < deadline, answers
            try:
                answers += [lag.records for lag in watching.read(time.time()).lags]
            except BrokerUnavailableError as error:
                answers.append(str(error))
        broker.close()


def test_broker_that_does_not_answer_is_no_broker_without_groups() -> None:
    broker = KafkaBroker("127.0.0.1:1", group="lag")
    with pytest.raises(BrokerUnavailableError):
        broker.groups("")
    broker.close()


def test_member_that_has_committed_nothing_is_seen(kafka: str, topics: Topics, lags: LagReader) -> None:
    write(kafka, topics, 3)
    consumer: Any = kafka_clients.consumer(kafka, topics.group("suppression"))
    consumer.subscribe([topics.changes])
    deadline = time.monotonic() + 30
    while not consumer.assignment():
        assert time.monotonic() < deadline
        consumer.poll(0.1)
    found = {Partition(lag.topic, lag.partition): lag.records for lag in lags.read(time.time()).lags}
    assert found == {
        Partition(topics.changes, 0): 0,
        Partition(topics.changes, 1): 4,
        Partition(topics.changes, 2): 0,
        Partition(topics.changes, 3): 0,
    }
    consumer.close()


def test_a_transaction_left_open_hides_no_lag_and_is_seen(kafka: str, topics: Topics, lags: LagReader) -> None:  # R39
    write(kafka, topics, 10)
    commit(kafka, topics, 11)  # ten records and a marker
    left_open: Any = kafka_clients.transactional_producer(kafka, topics.group("foreign"), transaction_timeout_ms=60_000)
    left_open.init_transactions(10)
    left_open.begin_transaction()
    left_open.produce(topics.changes, b"foreign", b"key", 1)
    assert left_open.flush(10) == 0
    write(kafka, topics, 3)
    place = Partition(topics.changes, 1)
    lags.read(time.time())
    snapshot = lags.read(time.time() + 100)
    [lag] = snapshot.lags
    assert lag.records == 5  # the foreign record, three behind it, and a marker
    assert 95 < lag.seconds < 130
    assert snapshot.stable_seconds[place] > 0
    assert {at for at, seconds in snapshot.stable_seconds.items() if seconds} == {place}
    left_open.abort_transaction(10)
    snapshot = lags.read(time.time())
    assert [each.records for each in snapshot.lags] == [6]
    assert snapshot.stable_seconds[place] == 0


def test_how_old_the_list_is_comes_from_the_topic(kafka: str, registry_url: str, topics: Topics) -> None:  # R63
    codec = Codec.connect(registry_url, topics)
    now = now_micros()
    stated = {"resolved_at": now - 7_000_000, "bulk_resolved_at": None, "inbound_resolved_at": None}
    lists: dict[str, Any] = {"loss": 0, "bulk_loss": 0, "lists": [], "inputs": [], "channel_holes": {"sms": "h1"}}
    value = codec.encode(topics.resolved, {"partition": 2, "hole": None, "written_at": now, **stated, **lists})
    producer = kafka_clients.producer(kafka)
    producer.produce(topics.resolved, value, b"2", 2)
    assert producer.flush(10) == 0
    check = ClockCheck()
    consumer = kafka_clients.consumer(kafka, topics.group("lag"), enable_partition_eof=True)
    reader = ResolvedReader(consumer=consumer, codec=codec, topic=topics.resolved, clock_check=check)
    deadline = time.monotonic() + 30
    while not reader.partitions:
        assert time.monotonic() < deadline
        reader.poll()
    reader.close()
    assert 7.0 <= ages(reader.partitions, now_micros())["2", "live"] < 40
    assert holes(reader.partitions) == {("2", "sms")}
    assert check.readiness() is True
    assert not math.isnan(check.offset_seconds())


def test_a_batch_that_no_client_can_unpack_is_lag_of_its_age(
    kafka: str, topics: Topics, lags: LagReader
) -> None:  # R39
    commit(kafka, topics, 0)
    send_bomb(kafka, topics.changes, 1)
    [lag] = lags.read(time.time() + 100).lags
    assert lag.records == 1
    assert lag.seconds > 95
    write(kafka, topics, 3)
    [lag] = lags.read(time.time() + 100).lags
    assert lag.records == 5
    assert lag.seconds > 95
