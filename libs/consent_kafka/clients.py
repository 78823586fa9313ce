"""Kafka clients, configured in one place. Settings go by librdkafka's names; `client_config` carries security
(security.protocol, sasl.*, ssl.*) and wins over ours."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import threading
import time
from _thread import start_new_thread
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from consent_kafka.batches import MAX_UNPACKED_BYTES, BoundedConsumer, OnUnfetchable, batch_reader
from consent_kafka.errors import DeliveryFailedError
from consent_service.errors import LinkRefusedError

log = logging.getLogger(__name__)


class _RepeatsLeftOut(logging.Filter):
    """A client that cannot connect writes some twenty lines a second. Of each kind of line that librdkafka writes, by
    its first word (FAIL, REQTMOUT, ...), one passes in REPEAT_SECONDS."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.getMessage().partition(" ")[0]
        if not kind.isupper():
            return True
        now = time.monotonic()
        if now - self._passed_at.get(kind, -math.inf) < REPEAT_SECONDS:
            return False
        self._passed_at[kind] = now
        return True


REPEAT_SECONDS = 30.0
log.addFilter(_RepeatsLeftOut())

SESSION_SECONDS = 8.0
"""After which a group goes on without a `consumer` that is silent."""

_ANY_PARTITION = -1

_UNAUTHORIZED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)

Headers = Sequence[tuple[str, bytes | None]]


_call_headers = methodcaller("headers")


def headers(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers of a record; none at all if a name among them is not UTF-8. Ask once for each message.

    For such a name the client sets an error and returns a list that ends the process when it is read. A call from C
    finds that out and raises SystemError; the interpreter, once it has specialised a call, hands out the list.
    """
    try:
        found = _call_headers(message)
    except (SystemError, UnicodeError):
        return []
    return [(name, as_bytes(value)) for name, value in found or ()]


def as_bytes(data: str | bytes | None) -> bytes | None:
    """A key, a value or a header of a record: bytes, though the client's types allow texts."""
    return data.encode() if isinstance(data, str) else data


def producer(bootstrap: str, client_config: Mapping[str, Any] | None = None, **overrides: Any) -> Producer:
    """An idempotent producer that waits for all replicas and partitions as Java does.

    `overrides` name librdkafka's settings with underscores for dots."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            # librdkafka's own default (CRC32) would send most keys to another partition than Java does.
            "partitioner": "murmur2_random",
            # Clients of other languages read our topics, and not each knows every codec (kafkajs: gzip alone).
            "compression.type": "none",
            "linger.ms": 5,
            "queue.buffering.max.messages": 200_000,
            # A dead letter holds a whole record and some more; the broker's default for a record is 1 MiB.
            "message.max.bytes": 2 * 1024 * 1024,
            # Longer than a broker takes to come back; then the caller hears of it and tries again or stops.
            "delivery.timeout.ms": 60_000,
            **(client_config or {}),
            **_dotted(overrides),
        },
        logger=log,
    )


def transactional_producer(
    bootstrap: str, transactional_id: str, client_config: Mapping[str, Any] | None = None, **overrides: Any
) -> Producer:
    """A producer that fences earlier users of `transactional_id`; call `init_transactions` first.

    An abandoned transaction holds back read_committed readers for 10 s at most."""
    fencing = {"transactional_id": transactional_id, "transaction_timeout_ms": 10_000, "delivery_timeout_ms": 10_000}
    return producer(bootstrap, client_config, **{**fencing, **overrides})


def consumer(
    bootstrap: str,
    group: str,
    client_config: Mapping[str, Any] | None = None,
    *,
    on_unfetchable: OnUnfetchable = lambda *_: None,
    **overrides: Any,
) -> Consumer:
    """A consumer that sees committed records only, starts at the earliest, and commits only when asked to.

    It passes over batches that cannot be unpacked and calls `on_unfetchable` for each."""
    return BoundedConsumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": int(SESSION_SECONDS * 1_000),
            "heartbeat.interval.ms": 1_500,
            "fetch.wait.max.ms": 250,
            "fetch.max.bytes": MAX_UNPACKED_BYTES // 2,
            # Also how much librdkafka unpacks of a zstd batch; of gzip and lz4 it unpacks all that a topic takes.
            "receive.message.max.bytes": MAX_UNPACKED_BYTES,
            **(client_config or {}),
            **_dotted(overrides),
        },
        read_batch=batch_reader(bootstrap, lambda: aiokafka_security(client_config or {})),
        on_unfetchable=on_unfetchable,
        logger=log,
    )


class LastingAdmin(AdminClient):
    """librdkafka's admin client, which keeps the leader epochs that it saw first. Once the broker was restarted, or a
    topic recreated, it is refused the offsets of a partition (FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH) again and
    again. Then a new client asks in its place.

    What is asked is answered in a thread of librdkafka's, and a client that is destroyed in its own thread aborts the
    process. So no answer holds the client, and one that is dropped rather than closed is closed in another thread.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._successor: AdminClient | None = None
        self._refused = threading.Event()
        self._config = dict(config)
        super().__init__(dict(config), logger=log)

    def close(self) -> None:
        """What is still asked is answered with an error. Nothing may be asked from here on."""
        super().__exit__(None, None, None)
        if self._successor is not None:
            self._successor.__exit__(None, None, None)

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Not threading's: its locks may be held by the code in which the garbage collector has begun.
        with suppress(RuntimeError):  # The interpreter ends; so does librdkafka.
            start_new_thread(self.close, ())

    def list_offsets(self, *asked: Any, **arguments: Any) -> Any:
        if self._refused.is_set():
            self._refused.clear()
            self._successor = AdminClient(self._config, logger=log)
        ask = super().list_offsets if self._successor is None else self._successor.list_offsets
        answers = ask(*asked, **arguments)
        for answer in answers.values():
            answer.add_done_callback(partial(_look_at, self._refused))
        return answers

    def poll(self, timeout: float = -1) -> Any:
        if self._successor is not None:
            self._successor.poll(0)
        return super().poll(timeout)


def _look_at(refused: threading.Event, answer: Future[Any]) -> None:
    error = answer.exception()
    if isinstance(error, KafkaException) and error.args[0].code() in _OTHER_EPOCH:
        refused.set()


_OTHER_EPOCH = frozenset({KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH})


def admin(bootstrap: str, client_config: Mapping[str, Any] | None = None, **overrides: Any) -> LastingAdmin:
    """Asks for and changes what the broker knows. Its log lines wait in it until it is polled, so an owner that keeps
    one polls it now and then."""
    return LastingAdmin({"bootstrap.servers": bootstrap, **(client_config or {}), **_dotted(overrides)})


def unauthorized(error: KafkaError, doing: str) -> LinkRefusedError | None:
    """The message where the broker has no ACL for what was asked, and waiting does not help; else None."""
    if error.code() not in _UNAUTHORIZED:
        return None
    return LinkRefusedError(f"CONSENT_RELAY_KAFKA: {doing}: {error.str()}: add the ACL (docs/security-settings.md)")


def aiokafka_security(client_config: Mapping[str, Any]) -> dict[str, Any]:
    """The security settings among `client_config`, in aiokafka's words."""
    protocol = str(client_config.get("security.protocol", "PLAINTEXT")).upper()
    wanted: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(
            cafile=client_config.get("ssl.ca.location"), cadata=client_config.get("ssl.ca.pem")
        )
        if "ssl.certificate.location" in client_config:
            context.load_cert_chain(
                client_config["ssl.certificate.location"],
                client_config.get("ssl.key.location"),
                client_config.get("ssl.key.password"),
            )
        if client_config.get("ssl.endpoint.identification.algorithm") == "none":
            context.check_hostname = False
        wanted["ssl_context"] = context
    if protocol.startswith("SASL"):
        wanted["sasl_mechanism"] = client_config.get("sasl.mechanism", "PLAIN")
        wanted["sasl_plain_username"] = client_config.get("sasl.username")
        wanted["sasl_plain_password"] = client_config.get("sasl.password")
    return wanted


def _dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in overrides.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """Where the broker put a record, and when, in micros by its own clock; None where the topic keeps the producer's
    time."""

    topic: str
    partition: int
    offset: int
    append_time: int | None = None


def _where(message: Message) -> Delivered:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise RuntimeError("librdkafka reported a delivery without its place")
    return Delivered(topic=topic, partition=partition, offset=offset, append_time=append_time(message))


def append_time(message: Message) -> int | None:
    """When the broker appended a record that was read or acknowledged, micros; None where the topic keeps the
    producer's time."""
    kind, millis = message.timestamp()
    return millis * 1_000 if kind == TIMESTAMP_LOG_APPEND_TIME else None


class AsyncProducer:
    """A Producer whose sends resolve when the broker has acknowledged.

    Belongs to the loop of its first send, and to that loop's thread; `close` it when the loop has ended. A thread
    polls; what it hears is handed to the loop in batches: one wake-up for as many deliveries as have come since.
    """

    def __init__(self, bootstrap: str, client_config: Mapping[str, Any] | None = None, **overrides: Any) -> None:
        self._producer = producer(bootstrap, client_config, **overrides)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: deque[tuple[asyncio.Future[Delivered], KafkaError | None, Message]] = deque()
        self._woken = False
        self._queue_has_space = asyncio.Event()
        self._unresolved: set[asyncio.Future[Delivered]] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-deliveries", daemon=True)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> Delivered:
        """Resolves once the broker has the record. Raises DeliveryFailedError. Waits while the buffer is full."""
        while True:
            try:
                delivery = self.send_nowait(topic, key, value, headers, partition)
            except BufferError:
                self._queue_has_space.clear()
                await self._queue_has_space.wait()
            else:
                return await delivery

    def send_nowait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> asyncio.Future[Delivered]:
        """A future that resolves as `send` does. BufferError when the buffer is full: nothing was sent."""
        loop = self._loop or self._start()
        delivery: asyncio.Future[Delivered] = loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._hear(delivery, error, message)

        try:
            self._producer.produce(
                topic,
                value,
                key,
                partition=_ANY_PARTITION if partition is None else partition,
                on_delivery=delivered,
                headers=list(headers or ()),
            )
        except KafkaException as refused:
            raise DeliveryFailedError(refused.args[0]) from refused
        self._unresolved.add(delivery)
        return delivery

    async def flush(self) -> None:
        """Returns when every record sent so far has been acknowledged or has failed (each to its sender)."""
        while self._unresolved:
            await asyncio.wait(set(self._unresolved))

    def close(self, seconds: float = 5.0) -> None:
        """Close the connection; records that no caller waits for get `seconds` to be delivered. May block."""
        self._stopping.set()
        if self._loop is not None:
            self._thread.join()
        self._producer.flush(seconds)

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self._loop

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)

    def _hear(self, delivery: asyncio.Future[Delivered], error: KafkaError | None, message: Message) -> None:
        self._heard.append((delivery, error, message))
        if not self._woken and self._loop is not None:
            self._woken = True
            with suppress(RuntimeError):  # The loop has ended: no caller waits for this delivery any more.
                self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        # Cleared before reading: what is heard from here on wakes the loop again, so nothing is left behind.
        self._woken = False
        while self._heard:
            delivery, error, message = self._heard.popleft()
            self._unresolved.discard(delivery)
            if delivery.done():
                continue
            if error is None:
                delivery.set_result(_where(message))
            else:
                delivery.set_exception(DeliveryFailedError(error))
        self._queue_has_space.set()
