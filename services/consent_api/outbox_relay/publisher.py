"""Records into Kafka: sends a batch and reports for every record what became of it, and where it landed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consent_api.outbox_relay.outbox_table import Row

# On top of consent_kafka.clients's idempotent producer.
PRODUCER: dict[str, Any] = {
    # A record is either acknowledged or known to have failed within this time. The rows stay locked so long, and
    # the database ends a transaction that is idle for 10 s.
    "delivery_timeout_ms": 5_000,
    # A batch is produced and then flushed, and a flush does not linger: this only keeps the first records of a
    # large batch from leaving one by one.
    "linger_ms": 5,
}

TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE})
# What is wrong with one record, not with the broker: sending it again as it is will fail again.
_ABOUT_THE_RECORD = TOO_LARGE | {KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD}
# The broker refuses a batch as a whole, for its size or for another record in it: each record of it is sent again in a
# batch of its own.
_ABOUT_THE_BATCH = _ABOUT_THE_RECORD | {KafkaError._INVALID_DIFFERENT_RECORD}
_SINGLY: dict[str, Any] = {"batch_num_messages": 1}

_SLICE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class OffsetRange:
    """The lowest and the highest offset that records of a batch got in one partition."""

    lowest: int
    highest: int


@dataclass(kw_only=True, slots=True)
class Delivery:
    """Every record of a batch is in exactly one of the three lists once `publish` returns."""

    acknowledged: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    cause: str | None = None
    """The last failure, in librdkafka's words."""
    too_large: bool = False
    """Every record in `refused` was refused for its size."""
    offsets: dict[int, OffsetRange] = field(default_factory=dict)
    """By partition, where the acknowledged records landed."""


class Publisher:
    """Sends records in batches, and those of a batch that is refused one by one. One thread at a time."""

    def __init__(self, connect: Callable[..., Producer]) -> None:
        """`connect` opens an idempotent producer; its keywords are settings on top of the caller's."""
        self._batches = _Sender(connect)
        self._single = _Sender(partial(connect, **_SINGLY))

    def publish(self, rows: Sequence[Row], *, beat: Callable[[], None], stop: Callable[[], bool]) -> Delivery:
        """Returns when the broker has answered for every row, or `delivery.timeout.ms` has passed, or `stop`.

        No row of this batch is left in a producer's queue then: what failed may safely be sent again. The rows of one
        call belong to one topic. Each that is refused was refused by itself.
        """
        delivery = self._batches.send(rows, beat=beat, stop=stop)
        if not delivery.refused or len(rows) == 1:
            return delivery
        again = self._single.send(delivery.refused, beat=beat, stop=stop)
        return _joined(delivery, again)


class _Sender:
    """Owns one producer, opened when it is needed and replaced when librdkafka reports a fatal error."""

    def __init__(self, connect: Callable[[], Producer]) -> None:
        self._connect = connect
        self._opened: Producer | None = None

    @property
    def _producer(self) -> Producer:
        if self._opened is None:
            self._opened = self._connect()
        return self._opened

    def send(self, rows: Sequence[Row], *, beat: Callable[[], None], stop: Callable[[], bool]) -> Delivery:
        """In `refused`, also records that were refused for others in their batch."""
        delivery = Delivery(too_large=True)
        fatal = False

        def on_delivery_of(row: Row) -> Callable[[KafkaError | None, Message], None]:
            def on_delivery(error: KafkaError | None, message: Message) -> None:
                nonlocal fatal
                if error is None:
                    _acknowledged(delivery, row, message.offset())
                else:
                    fatal = fatal or _is_fatal(error)
                    _failed(delivery, row, error)

            return on_delivery

        for row in rows:
            while not stop():
                try:
                    self._producer.produce(
                        row.topic,
                        row.value,
                        row.key,
                        partition=row.partition,
                        on_delivery=on_delivery_of(row),
                        headers=row.headers,
                    )
                    break
                except BufferError:
                    self._producer.poll(_SLICE)
                    beat()
                except KafkaException as refused:
                    error = refused.args[0]
                    fatal = fatal or _is_fatal(error)
                    _failed(delivery, row, error)
                    break
            else:
                delivery.failed.append(row)
        while self._producer.flush(_SLICE) and not stop():
            beat()
        if len(self._producer):
            self._abandon()
        if fatal:
            self._opened = None
        return delivery

    def _abandon(self) -> None:
        """On shutdown while the broker is unavailable: another relay may claim the rows a moment later."""
        self._producer.purge()
        deadline = time.monotonic() + _SLICE * 4
        while self._producer.flush(_SLICE) and time.monotonic() < deadline:
            pass


def _is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() == KafkaError._FATAL


def _acknowledged(delivery: Delivery, row: Row, offset: int | None) -> None:
    delivery.acknowledged.append(row)
    if offset is None or offset < 0:  # librdkafka does not know it after a retry that the broker took for a duplicate.
        return
    _landed(delivery, row.partition, OffsetRange(lowest=offset, highest=offset))


def _landed(delivery: Delivery, partition: int, landed: OffsetRange) -> None:
    before = delivery.offsets.get(partition, landed)
    delivery.offsets[partition] = OffsetRange(
        lowest=min(landed.lowest, before.lowest), highest=max(landed.highest, before.highest)
    )


def _joined(first: Delivery, again: Delivery) -> Delivery:
    """What became of all rows, `again` being about those that were refused the first time."""
    joined = Delivery(
        acknowledged=first.acknowledged + again.acknowledged,
        refused=again.refused,
        failed=first.failed + again.failed,
        cause=again.cause or first.cause,
        too_large=again.too_large,
        offsets=dict(first.offsets),
    )
    for partition, landed in again.offsets.items():
        _landed(joined, partition, landed)
    return joined


def _failed(delivery: Delivery, row: Row, error: KafkaError) -> None:
    delivery.cause = error.name()
    if error.code() in _ABOUT_THE_BATCH:
        delivery.refused.append(row)
        delivery.too_large = delivery.too_large and error.code() in TOO_LARGE
    else:
        delivery.failed.append(row)
