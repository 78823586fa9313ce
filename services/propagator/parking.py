"""Addresses that alone keep failing, kept in the parked topic so that they hold up nobody and outlive us.

One compacted record an address and destination, in the partition that its entry came from. Written through a
transactional producer of this destination and partition: a resumed zombie is fenced, and can neither bring an
address back that has been settled nor strike out one that its successor has parked. Making a producer fences the
one before it: only who surely owns the partition does so.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Producer as KafkaProducer

from consent_contracts import cloudevents
from consent_contracts.codec import Codec
from consent_contracts.errors import RegistryUnavailable, Unreadable
from consent_runtime.transport.contract import Ownership
from propagator.receipts import RETRY_SECONDS

log = logging.getLogger(__name__)

TRANSACTION_SECONDS = 10.0
OWNERSHIP_SECONDS = 0.1
"""Between two looks whether the partition is surely ours."""


class Fenced(Exception):
    """Somebody else writes for a partition that is surely ours: ours has to recover what is parked anew."""


class _Unowned(Exception):
    """Whether the partition is ours is not sure: no producer may be made."""


class _Overtaken(Exception):
    """A newer producer writes for the partition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An entry of an address, as it stands in the suppression topic."""

    offset: int
    value: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """One parked address, recovered: its record, and the newest entry of the address (None: erased)."""

    address_key: str
    recorded: Entry
    """The entry as it was when it was parked; empty when the record cannot be read."""
    attempts: int
    first_failed_at: int
    next_attempt_at: int
    entry: Entry | None


class Parking:
    """One partition's parked addresses at one destination. Blocking Kafka calls run in threads."""

    def __init__(
        self,
        codec: Codec,
        *,
        topic: str,
        source: str,
        destination: str,
        partition: int,
        ownership: Ownership,
        producer: Callable[[], KafkaProducer],
        consumer: Callable[[], Consumer],
    ) -> None:
        """`producer` makes the transactional one; `consumer` one that reads committed records, without a group."""
        self._codec = codec
        self._topic = topic
        self._source = source
        self._destination = destination
        self._partition = partition
        self._ownership = ownership
        self._make_producer = producer
        self._make_consumer = consumer
        self._producer: KafkaProducer | None = None
        self._pending: list[tuple[bytes, bytes | None, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def put(self, address_key: str, datum: dict[str, Any]) -> None:
        """Returns once the record is committed. Waits while the partition may be another's, until `close` ends that.

        Raises Fenced, and whatever else the client fails with for good.
        """
        await self._write(address_key, self._codec.encode(self._topic, datum))

    async def forget(self, address_key: str) -> None:
        await self._write(address_key, None)

    async def close(self) -> None:
        """Writes under way are abandoned: what was not committed has not happened."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def recover(self) -> list[Parked]:
        """What is parked here, each with its newest entry: the state to push is that, not the parked one."""
        while True:
            try:
                return await asyncio.to_thread(self._recover)
            except (KafkaException, RegistryUnavailable) as error:
                log.warning("parked pushes not read yet", extra={"destination": self._destination, "why": str(error)})
                await asyncio.sleep(RETRY_SECONDS)

    async def _write(self, address_key: str, value: bytes | None) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((self._key(address_key), value, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._drain(), name=f"park {self._destination}:{self._partition}")
        await done

    async def _drain(self) -> None:
        """All that is pending in one transaction, until nothing is. What fails for good fails for all who wait."""
        while self._pending:
            batch, self._pending = self._pending, []
            failure: Exception | None = None
            try:
                await self._persist([(key, value) for key, value, _ in batch])
            except Exception as error:
                failure = error
            for _, _, done in batch:
                if done.done():
                    continue
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(failure)

    async def _persist(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        """Returns once it is committed; a broker that is away is waited for, and so is our place in the group."""
        while True:
            try:
                return await asyncio.to_thread(self._commit, batch)
            except KafkaException as error:
                self._waits("parking not written yet", str(error))
                await asyncio.sleep(RETRY_SECONDS)
            except _Unowned:
                self._waits("parking not written yet", "not sure to own the partition")
                await self._owned()
            except _Overtaken as error:
                # A zombie is never sure: it learns that the partition is gone, and is closed here.
                self._waits("fenced", "another worker writes for the partition")
                await self._owned()
                raise Fenced(f"{self._destination}: partition {self._partition}") from error

    async def _owned(self) -> None:
        while not self._ownership.fresh():  # noqa: ASYNC110 - it is a matter of time, nothing announces it
            await asyncio.sleep(OWNERSHIP_SECONDS)

    def _waits(self, what: str, why: str) -> None:
        log.warning(what, extra={"destination": self._destination, "partition": self._partition, "why": why})

    def _commit(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        try:
            producer = self._producer or self._opened()
            producer.begin_transaction()
            for key, value in batch:
                headers = [] if value is None else self._headers()
                producer.produce(self._topic, key=key, value=value, partition=self._partition, headers=headers)
            producer.commit_transaction(TRANSACTION_SECONDS)
        except KafkaException as error:
            self._failed(error)

    def _opened(self) -> KafkaProducer:
        """A producer that fences those before it. A freeze in the middle may have cost us the partition."""
        producer = self._make_producer()
        if not self._ownership.fresh():
            raise _Unowned
        producer.init_transactions(TRANSACTION_SECONDS)
        if not self._ownership.fresh():
            raise _Unowned
        self._producer = producer
        return producer

    def _failed(self, error: KafkaException) -> None:
        fault: KafkaError = error.args[0]
        fenced = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
        if fault.code() in fenced:
            raise _Overtaken from error
        # A fresh producer for the next try: it aborts what this one left open.
        self._producer = None
        raise error

    def _recover(self) -> list[Parked]:
        key_prefix = self._key("")
        consumer = self._make_consumer()
        try:
            found: dict[str, dict[str, Any]] = {}
            for key, _, value in _read(consumer, self._topic, self._partition, 0):
                if not key.startswith(key_prefix):
                    continue
                address_key = key[len(key_prefix) :].decode()
                if value is None:
                    found.pop(address_key, None)
                else:
                    found[address_key] = self._decoded(value)
            entries = self._newest(consumer, found)
        finally:
            consumer.close()
        return [
            Parked(
                address_key=address_key,
                recorded=Entry(offset=datum["source_offset"], value=datum["entry"]),
                attempts=datum["attempts"],
                first_failed_at=datum["first_failed_at"],
                next_attempt_at=datum["next_attempt_at"],
                entry=entries.get(address_key),
            )
            for address_key, datum in found.items()
        ]

    def _decoded(self, value: bytes) -> dict[str, Any]:
        """A record that cannot be read still says, by its key, which address to push again."""
        try:
            return self._codec.decode(self._topic, value)
        except Unreadable:
            return {"source_offset": 0, "entry": b"", "attempts": 0, "first_failed_at": 0, "next_attempt_at": 0}

    def _newest(self, consumer: Consumer, found: dict[str, dict[str, Any]]) -> dict[str, Entry]:
        """The newest entry of each parked address. Its own bytes may be old: a zombie may have parked it."""
        entries: dict[str, Entry] = {}
        if not found:
            return entries
        start = min(datum["source_offset"] for datum in found.values())
        for key, offset, value in _read(consumer, self._source, self._partition, start):
            address_key = key.decode("ascii", "replace")
            if address_key in found:
                if value is None:
                    entries.pop(address_key, None)
                else:
                    entries[address_key] = Entry(offset=offset, value=value)
        return entries

    def _headers(self) -> list[tuple[str, str | bytes | None]]:
        return [
            *cloudevents.headers(
                event_id=str(uuid.uuid4()),
                event_type="relay.consent.v1.ParkedPush",
                source="/propagator/" + self._destination,
                time_micros=time.time_ns() // 1_000,
            )
        ]

    def _key(self, address_key: str) -> bytes:
        return f"{self._destination}|{address_key}".encode()


def _read(consumer: Consumer, topic: str, partition: int, start: int) -> Any:
    """Every record from `start` (or the first there is) to the end as it is now: key, offset, value."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TRANSACTION_SECONDS)
    if start > high:
        start = low  # The topic was made anew since; what was parked then may stand anywhere in it.
    start = max(start, low)
    consumer.assign([TopicPartition(topic, partition, start)])
    while True:
        for message in consumer.consume(num_messages=1000, timeout=1.0):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                if error.fatal() or not error.retriable():
                    raise KafkaException(error)
                continue
            yield message.key() or b"", message.offset(), message.value()
