"""A dead letter that no broker takes holds what fits: it must not stop the line. # R16"""

from __future__ import annotations

import secrets
from typing import Any

from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry

from consent_contracts import schemas
from consent_contracts.codec import Codec, ConfluentRegistry
from consent_contracts.topics import Topics
from consent_kafka.dead_letters import (
    TOO_LARGE,
    AsyncDeadLetterProducer,
    DeadLetterMetrics,
    TruncatedRecord,
    original,
)
from consent_kafka.errors import DeliveryFailedError
from consent_privacy.keyring import Key, Keyring
from tests.support.metric_values import value_of

TOPICS = Topics(prefix="letters.")


class SmallBroker:
    """Takes values up to a megabyte."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def send(self, topic: str, key: bytes, value: bytes, headers: Any) -> None:
        if len(value) > 1_000_000:
            raise DeliveryFailedError(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.taken.append(value)


async def test_a_record_that_is_too_large_is_cut() -> None:
    registry = ConfluentRegistry("mock://letters")
    topic = TOPICS.dead_letters("suppression")
    registry.register(f"{topic}-value", schemas.schema_text("DeadLetter"))
    codec, broker, metrics = Codec(registry), SmallBroker(), DeadLetterMetrics.on(CollectorRegistry())
    keyring = Keyring(
        seal_keys=[Key(id="s1", secret=secrets.token_bytes(32))],
        hash_keys={"acme": [Key(id="h1", secret=secrets.token_bytes(32), primary=True)]},
    )
    letters = AsyncDeadLetterProducer(
        producer=broker,  # type: ignore[arg-type]
        codec=codec,
        keyring=lambda: keyring,
        topics=TOPICS,
        service="suppression",
        metrics=metrics,
    )
    value = secrets.token_bytes(3_000_000)
    record = TruncatedRecord(topic=TOPICS.changes, partition=1, offset=7, timestamp=5, key=b"k", value=value)
    await letters.send(record, "not_framed", "the value does not begin with 0")
    (taken,) = broker.taken
    letter = codec.decode(topic, taken)
    assert letter["reason"] == TOO_LARGE
    assert "not_framed" in letter["error"]
    kept = original(letter, keyring)
    assert kept.key == b"k"
    assert kept.value is not None
    assert 0 < len(kept.value) < len(value)
    assert value.startswith(kept.value)
    assert value_of(metrics.dead_letters.labels("suppression", TOPICS.changes, TOO_LARGE)) == 1
