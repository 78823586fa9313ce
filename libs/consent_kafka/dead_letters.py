"""Records that cannot be read or break a rule: kept whole, sealed, with the reason, acknowledged by the broker.

Sealed, because a record that could not be read may hold a clear address; bound by its place, so that one dead letter
cannot be passed off as another.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer
from prometheus_client import CollectorRegistry, Counter, Gauge

from consent_contracts import cloudevents
from consent_contracts.codec import Codec
from consent_contracts.errors import UNREADABLE_REASONS, InvalidRecordError
from consent_contracts.topics import Topics
from consent_kafka.batches import UNFETCHABLE
from consent_kafka.clients import AsyncProducer, Headers
from consent_kafka.errors import DeliveryFailedError
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_service.zero_series import from_zero

if TYPE_CHECKING:
    from consent_kafka.transport.api import Record


log = logging.getLogger(__name__)

TOO_LARGE = "too_large"
"""The reason of a letter that does not hold its record whole."""
READER_REASONS = (*UNREADABLE_REASONS, InvalidRecordError.reason, UNFETCHABLE)
"""The reasons that every reader of records has."""

_KEPT = 262_144
_LOGGED_A_MINUTE = 20
_NO_ROOM = "MSG_SIZE_TOO_LARGE"


@dataclass(frozen=True, kw_only=True, slots=True)
class TruncatedRecord:
    """What is kept of a record that is too large once it is sealed (it may have come in compressed).

    There is no other way to keep it, and it must not stop the partition. The whole record stays at its coordinates
    until the topic's retention removes it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @classmethod
    def of(cls, record: Record) -> TruncatedRecord:
        return cls(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            key=record.key and record.key[:_KEPT],
            value=record.value and record.value[:_KEPT],
        )


def truncated_error(record: Record, reason: str, error: str) -> str:
    """The error of a letter that holds a record cut."""
    return f"{reason}: {error}; of its value's {len(record.value or b'')} bytes the first {_KEPT} are kept here"


def _cut_to_size(
    failed: DeliveryFailedError, record: Record, reason: str, error: str
) -> tuple[TruncatedRecord, str, str]:
    """What is sent instead of a letter that was refused for its size. Raises `failed` where it was not."""
    if failed.code != _NO_ROOM or reason == TOO_LARGE:
        raise failed
    return TruncatedRecord.of(record), TOO_LARGE, truncated_error(record, reason, error)


class OriginalRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The record as it was in Kafka. `timestamp` in milliseconds since the epoch."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


@dataclass(frozen=True, kw_only=True)
class DeadLetterMetrics:
    dead_letters: Counter
    last_offset: Gauge
    last_at: Gauge

    @classmethod
    def on(
        cls,
        registry: CollectorRegistry,
        *,
        service: str = "",
        topics: Collection[str] = (),
        reasons: Iterable[str] = (),
    ) -> DeadLetterMetrics:
        """`topics`: those that `service` reads. `reasons`: its own, besides those of every reader."""
        metrics = cls(
            dead_letters=Counter(
                "consent_relay_dead_letters",
                "Records set aside because they could not be read or broke a rule. Each needs a person.",
                ("service", "topic", "reason"),
                registry=registry,
            ),
            last_offset=Gauge(
                "consent_relay_dead_letters_last_offset",
                "Offset of the record of this partition that was set aside last for this reason: with topic and"
                " partition what `consent-relay dead-letters list` shows first. Absent: none since the process began.",
                ("service", "topic", "partition", "reason"),
                registry=registry,
            ),
            last_at=Gauge(
                "consent_relay_dead_letters_last_timestamp_seconds",
                "When that record was set aside, since the epoch.",
                ("service", "topic", "partition", "reason"),
                registry=registry,
            ),
        )
        from_zero(metrics.dead_letters, [service], topics, [*READER_REASONS, *reasons])
        return metrics


def original(datum: Mapping[str, Any], keyring: Keyring) -> OriginalRecord:
    """What a DeadLetter datum holds. Raises DecryptionFailedError."""
    key = record_coordinates(datum["topic"], datum["partition"], datum["offset"])
    return msgspec.msgpack.decode(keyring.open_record(datum["sealed_record"], key), type=OriginalRecord)


def record_coordinates(topic: str, partition: int, offset: int) -> bytes:
    return f"{topic}:{partition}:{offset}".encode()


class DeadLetterBuilder:
    """Makes dead letters of one service: topic, key, value and headers, ready to be produced."""

    def __init__(
        self,
        *,
        codec: Codec,
        keyring: Callable[[], Keyring],
        topics: Topics,
        service: str,
        metrics: DeadLetterMetrics,
    ) -> None:
        self.topic = topics.dead_letters(service)
        self._codec = codec
        self._keyring = keyring
        self._service = service
        self._metrics = metrics
        self._reporting = threading.Lock()
        self._minute_began = -math.inf
        self._logged = 0
        self._unlogged = 0

    def letter(self, record: Record, reason: str, error: str) -> tuple[bytes, bytes, Headers]:
        """The key is the record's place, never its own key, which may be a clear number."""
        key = record_coordinates(record.topic, record.partition, record.offset)
        whole = OriginalRecord(
            key=record.key, value=record.value, headers=tuple(record.headers or ()), timestamp=record.timestamp
        )
        failed_at = now_micros()
        datum = {
            "service": self._service,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "reason": reason,
            "error": error,
            "sealed_record": self._keyring().seal_record(msgspec.msgpack.encode(whole), key),
            "failed_at": failed_at,
        }
        headers: Headers = cloudevents.headers(
            event_id=key.decode(),
            event_type="relay.consent.v1.DeadLetter",
            source=f"/consent-relay/{self._service}",
            time_micros=failed_at,
        )
        return key, self._codec.encode(self.topic, datum), headers

    def count(self, record: Record, reason: str, error: str) -> None:
        """The broker has acknowledged the dead letter: count it, and log it where there are few."""
        self._metrics.dead_letters.labels(self._service, record.topic, reason).inc()
        place = self._service, record.topic, str(record.partition), reason
        self._metrics.last_offset.labels(*place).set(record.offset)
        self._metrics.last_at.labels(*place).set(now_micros() / 1e6)
        with self._reporting:
            now = time.monotonic()
            if now - self._minute_began >= 60.0:
                if self._unlogged:
                    log.warning("more records sent to dead letters within a minute", extra={"records": self._unlogged})
                self._minute_began, self._logged, self._unlogged = now, 0, 0
            if self._logged == _LOGGED_A_MINUTE:
                self._unlogged += 1
                return
            self._logged += 1
        log.warning(
            "record sent to dead letters",
            extra={
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "reason": reason,
                "error": error,
            },
        )


class AsyncDeadLetterProducer:
    """For a loop. `error` never holds a value of the record."""

    def __init__(
        self,
        *,
        producer: AsyncProducer,
        codec: Codec,
        keyring: Callable[[], Keyring],
        topics: Topics,
        service: str,
        metrics: DeadLetterMetrics,
    ) -> None:
        self._producer = producer
        self._letters = DeadLetterBuilder(codec=codec, keyring=keyring, topics=topics, service=service, metrics=metrics)

    async def send(self, record: Record, reason: str, error: str) -> None:
        """Returns once the broker has acknowledged. Raises DeliveryFailedError: then the record must not be."""
        key, value, headers = self._letters.letter(record, reason, error)
        try:
            await self._producer.send(self._letters.topic, key, value, headers)
        except DeliveryFailedError as failed:
            await self.send(*_cut_to_size(failed, record, reason, error))
        else:
            self._letters.count(record, reason, error)


class DeadLetterProducer:
    """For a thread that has no loop; the producer is its own."""

    def __init__(
        self,
        *,
        producer: Producer,
        codec: Codec,
        keyring: Callable[[], Keyring],
        topics: Topics,
        service: str,
        metrics: DeadLetterMetrics,
    ) -> None:
        self._producer = producer
        self._letters = DeadLetterBuilder(codec=codec, keyring=keyring, topics=topics, service=service, metrics=metrics)

    def send(self, record: Record, reason: str, error: str) -> None:
        """Returns once the broker has acknowledged. Raises DeliveryFailedError: then the record must not be."""
        key, value, headers = self._letters.letter(record, reason, error)
        try:
            self._produce(key, value, headers)
        except DeliveryFailedError as failed:
            self.send(*_cut_to_size(failed, record, reason, error))
        else:
            self._letters.count(record, reason, error)

    def _produce(self, key: bytes, value: bytes, headers: Headers) -> None:
        outcome: list[KafkaError | None] = []
        try:
            self._producer.produce(
                self._letters.topic,
                value,
                key,
                on_delivery=lambda failed, _: outcome.append(failed),
                headers=list(headers),
            )
        except KafkaException as error:  # The client itself refuses what is too large.
            raise DeliveryFailedError(error.args[0]) from error
        while not outcome:
            self._producer.poll(0.1)
        if outcome[0] is not None:
            raise DeliveryFailedError(outcome[0])
