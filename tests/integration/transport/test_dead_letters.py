"""What cannot be read is kept whole, sealed, and findable; nothing of it is in the clear."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_kafka.clients import AsyncProducer, consumer, producer
from consent_kafka.dead_letters import (
    TOO_LARGE,
    AsyncDeadLetterProducer,
    DeadLetterMetrics,
    DeadLetterProducer,
    OriginalRecord,
    original,
)
from consent_kafka.errors import DeliveryFailedError
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring
from local_stack.servers import ServerEndpoints

SERVICE = "consent-api"


@dataclass(frozen=True)
class Read:
    key: bytes | None = b"+33 6 39 98 01 02"
    value: bytes | None = b"not avro: someone@example.com"
    topic: str = "consent.inbound.v1"
    partition: int = 2
    offset: int = 71
    timestamp: int = 1_760_000_000_000
    headers: tuple[tuple[str, bytes | None], ...] = (("source", b"crm"), ("empty", None))


@pytest.fixture
def codec(servers: ServerEndpoints, topics: Topics) -> Codec:
    return Codec.connect(servers.registry, topics)


@pytest.fixture
def written(servers: ServerEndpoints, topics: Topics) -> Callable[[], tuple[bytes, bytes]]:
    """Key and value of the first dead letter."""

    def first() -> tuple[bytes, bytes]:
        reader = consumer(servers.kafka, f"{topics.prefix}reader")
        reader.subscribe([topics.dead_letters(SERVICE)])
        try:
            message = reader.poll(20)
            assert message is not None
            key, value = message.key(), message.value()
            assert key is not None
            assert value is not None
            return key, value
        finally:
            reader.close()

    return first


# R13, R16
async def test_a_dead_letter_holds_the_whole_record_and_nothing_in_the_clear(
    servers: ServerEndpoints, topics: Topics, codec: Codec, keyring: Keyring, written: Callable[[], tuple[bytes, bytes]]
) -> None:
    registry = CollectorRegistry()
    sender = AsyncProducer(servers.kafka)
    letters = AsyncDeadLetterProducer(
        producer=sender,
        codec=codec,
        keyring=lambda: keyring,
        topics=topics,
        service=SERVICE,
        metrics=DeadLetterMetrics.on(registry),
    )
    await letters.send(Read(), "not_framed", "the value does not begin with a zero byte")
    sender.close()

    key, value = written()
    assert key == b"consent.inbound.v1:2:71"
    assert b"39 98" not in value
    assert b"example.com" not in value
    datum = codec.decode(topics.dead_letters(SERVICE), value)
    assert (datum["reason"], datum["service"], datum["offset"]) == ("not_framed", SERVICE, 71)
    read = Read()
    assert original(datum, keyring) == OriginalRecord(
        key=read.key, value=read.value, headers=read.headers, timestamp=read.timestamp
    )
    labels = {"service": SERVICE, "topic": "consent.inbound.v1", "reason": "not_framed"}
    assert registry.get_sample_value("consent_relay_dead_letters_total", labels) == 1
    last = "consent_relay_dead_letters_last"
    assert registry.get_sample_value(f"{last}_offset", {**labels, "partition": "2"}) == 71
    at = registry.get_sample_value(f"{last}_timestamp_seconds", {**labels, "partition": "2"})
    assert at == pytest.approx(datum["failed_at"] / 1e6, abs=60)
    with pytest.raises(DecryptionFailedError):
        original({**datum, "offset": 72}, keyring)


def test_a_thread_without_a_loop_can_send_one_too(
    servers: ServerEndpoints, topics: Topics, codec: Codec, keyring: Keyring, written: Callable[[], tuple[bytes, bytes]]
) -> None:
    letters = DeadLetterProducer(
        producer=producer(servers.kafka),
        codec=codec,
        keyring=lambda: keyring,
        topics=topics,
        service=SERVICE,
        metrics=DeadLetterMetrics.on(CollectorRegistry()),
    )
    letters.send(Read(key=None, value=None), "empty", "there is no value")
    _, value = written()
    assert original(codec.decode(topics.dead_letters(SERVICE), value), keyring).value is None


def test_a_record_that_is_too_large_for_the_broker_is_cut_in_a_thread_too(
    servers: ServerEndpoints, topics: Topics, codec: Codec, keyring: Keyring, written: Callable[[], tuple[bytes, bytes]]
) -> None:
    letters = DeadLetterProducer(
        producer=producer(servers.kafka),
        codec=codec,
        keyring=lambda: keyring,
        topics=topics,
        service=SERVICE,
        metrics=DeadLetterMetrics.on(CollectorRegistry()),
    )
    value = secrets.token_bytes(3_000_000)
    letters.send(Read(value=value), "not_framed", "the value does not begin with a zero byte")
    _, letter = written()
    datum = codec.decode(topics.dead_letters(SERVICE), letter)
    assert datum["reason"] == TOO_LARGE
    kept = original(datum, keyring).value
    assert kept
    assert value.startswith(kept)


async def test_a_dead_letter_the_broker_does_not_take_raises(topics: Topics, codec: Codec, keyring: Keyring) -> None:
    registry = CollectorRegistry()
    sender = AsyncProducer("127.0.0.1:1", delivery_timeout_ms=1_000)
    letters = AsyncDeadLetterProducer(
        producer=sender,
        codec=codec,
        keyring=lambda: keyring,
        topics=topics,
        service=SERVICE,
        metrics=DeadLetterMetrics.on(registry),
    )
    with pytest.raises(DeliveryFailedError):
        await letters.send(Read(), "empty", "there is no value")
    sender.close(0.1)
    labels = {"service": SERVICE, "topic": "consent.inbound.v1", "reason": "empty"}
    assert registry.get_sample_value("consent_relay_dead_letters_total", labels) is None
