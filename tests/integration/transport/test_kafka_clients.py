"""Producers and consumers as every service gets them, on a real broker."""

import asyncio
import time

import pytest

from consent_contracts.partitioner import partition_of
from consent_kafka.clients import AsyncProducer, aiokafka_security, consumer, producer, transactional_producer
from consent_kafka.errors import DeliveryFailedError
from tests.integration.transport.processes import Bench


def read(bench: Bench, count: int) -> list[tuple[int, bytes | None, bytes | None]]:
    reader = consumer(bench.bootstrap, f"{bench.group}-reader")
    reader.subscribe([bench.topic])
    found: list[tuple[int, bytes | None, bytes | None]] = []
    deadline = time.monotonic() + 20
    try:
        while len(found) < count:
            assert time.monotonic() < deadline, f"only {len(found)} of {count}"
            for message in reader.consume(1000, timeout=0.5):
                assert message.error() is None
                partition = message.partition()
                assert partition is not None
                found.append((partition, message.key(), message.value()))
    finally:
        reader.close()
    return found


async def test_a_send_resolves_with_the_place_the_broker_gave(bench: Bench) -> None:
    bench.create(partitions=4)
    sender = AsyncProducer(bench.bootstrap)
    try:
        first = await sender.send(bench.topic, b"k", b"1", [("h", b"v")], partition=3)
        second = await sender.send(bench.topic, b"k", b"2", partition=3)
    finally:
        sender.close()
    assert (first.topic, first.partition, first.offset, second.offset) == (bench.topic, 3, 0, 1)


async def test_fifty_thousand_sends_all_resolve(bench: Bench) -> None:
    bench.create(partitions=4)
    sender = AsyncProducer(bench.bootstrap)
    try:
        sends = [sender.send_nowait(bench.topic, str(number).encode(), b"x" * 200) for number in range(50_000)]
        places = await asyncio.gather(*sends)
    finally:
        sender.close()
    assert len({(place.partition, place.offset) for place in places}) == 50_000


async def test_a_send_waits_while_the_buffer_is_full(bench: Bench) -> None:
    bench.create()
    sender = AsyncProducer(bench.bootstrap, queue_buffering_max_messages=10)
    try:
        await asyncio.gather(*(sender.send(bench.topic, None, str(number).encode()) for number in range(500)))
    finally:
        sender.close()
    assert len(read(bench, 500)) == 500


async def test_a_delivery_that_fails_raises(bench: Bench) -> None:
    bench.create()
    sender = AsyncProducer(bench.bootstrap, delivery_timeout_ms=2_000)
    try:
        with pytest.raises(DeliveryFailedError) as missing:
            await sender.send(f"{bench.topic}-missing", b"k", b"v")
        with pytest.raises(DeliveryFailedError, match="too large"):
            await sender.send(bench.topic, b"k", b"v" * 3_000_000)
    finally:
        sender.close()
    assert missing.value.code in {"_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART", "_MSG_TIMED_OUT"}


async def test_no_broker_reachable_fails_within_the_delivery_timeout() -> None:
    sender = AsyncProducer("127.0.0.1:1", delivery_timeout_ms=1_000)
    try:
        with pytest.raises(DeliveryFailedError):
            await sender.send("t", b"k", b"v")
    finally:
        sender.close(0.1)


def test_keys_go_where_java_puts_them(bench: Bench) -> None:
    bench.create(partitions=4)
    keys = [f"key-{number}".encode() for number in range(200)]
    sender = producer(bench.bootstrap)
    for key in keys:
        sender.produce(bench.topic, b"v", key)
    assert sender.flush(20) == 0
    for partition, key, _ in read(bench, len(keys)):
        assert key is not None
        assert partition == partition_of(key, 4)


def test_a_second_writer_with_the_same_name_fences_the_first(bench: Bench) -> None:
    bench.create()
    first, second = (transactional_producer(bench.bootstrap, f"{bench.topic}-tx") for _ in range(2))
    first.init_transactions(10)
    first.begin_transaction()
    first.produce(bench.topic, b"old")
    first.flush(10)
    second.init_transactions(10)
    with pytest.raises(Exception, match=r"fenced|newer producer|PRODUCER_FENCED|_FENCED|INVALID_PRODUCER_EPOCH"):
        first.commit_transaction(10)
    second.begin_transaction()
    second.produce(bench.topic, b"new")
    second.commit_transaction(10)
    assert [value for _, _, value in read(bench, 1)] == [b"new"]


def test_security_settings_reach_both_kinds_of_client() -> None:
    assert aiokafka_security({}) == {"security_protocol": "PLAINTEXT"}
    settings = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "relay",
        "sasl.password": "secret",
    }
    wanted = aiokafka_security(settings)
    assert wanted["ssl_context"].check_hostname
    assert {name: value for name, value in wanted.items() if name != "ssl_context"} == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "relay",
        "sasl_plain_password": "secret",
    }
