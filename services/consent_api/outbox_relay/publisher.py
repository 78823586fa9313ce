"""Outbox rows into Kafka: sends a batch and says of every row what became of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from .outbox_table import Row

# On top of consent_runtime.kafka's idempotent producer.
PRODUCER: dict[str, Any] = {
    # A record is either acknowledged or known to have failed within this time. The rows stay locked so long, and
    # the database ends a transaction that is idle for 10 s.
    "delivery_timeout_ms": 5_000,
    # A batch is produced and then flushed, and a flush does not linger: this only keeps the first records of a
    # large batch from leaving one by one.
    "linger_ms": 5,
}

# What is wrong with one record, not with the broker: sending it again as it is will fail again.
_ABOUT_THE_RECORD = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
    }
)

_SLICE = 0.5


@dataclass(kw_only=True, slots=True)
class Delivery:
    """Every row of a batch is in exactly one of the three once `publish` returns."""

    acknowledged: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    cause: str | None = None  # the last failure, in librdkafka's words


class Publisher:
    """Owns one idempotent producer, and replaces it when librdkafka says that it is beyond recovery."""

    def __init__(self, connect: Callable[[], Producer]) -> None:
        self._connect = connect
        self._producer = connect()

    def publish(self, rows: Sequence[Row], *, beat: Callable[[], None], stop: Callable[[], bool]) -> Delivery:
        """Returns when the broker has answered for every row, or `delivery.timeout.ms` has passed, or `stop`.

        No row of this batch is left in the producer's queue then: what failed may safely be claimed again.
        """
        delivery = Delivery()
        fatal = False

        def settled(row: Row) -> Callable[[KafkaError | None, Message], None]:
            def on_delivery(error: KafkaError | None, _: Message) -> None:
                nonlocal fatal
                if error is None:
                    delivery.acknowledged.append(row)
                else:
                    fatal = fatal or error.fatal() or error.code() == KafkaError._FATAL
                    _failed(delivery, row, error)

            return on_delivery

        for row in rows:
            while not stop():
                try:
                    self._producer.produce(row.topic, row.value, row.key, on_delivery=settled(row), headers=row.headers)
                    break
                except BufferError:
                    self._producer.poll(_SLICE)
                    beat()
                except KafkaException as refused:
                    error = refused.args[0]
                    fatal = fatal or error.fatal() or error.code() == KafkaError._FATAL
                    _failed(delivery, row, error)
                    break
            else:
                delivery.failed.append(row)
        while self._producer.flush(_SLICE) and not stop():
            beat()
        if len(self._producer):
            self._abandon()
        if fatal:
            self._producer = self._connect()
        return delivery

    def _abandon(self) -> None:
        """On the way out with the broker away: the rows are somebody else's a moment later."""
        self._producer.purge()
        deadline = time.monotonic() + _SLICE * 4
        while self._producer.flush(_SLICE) and time.monotonic() < deadline:
            pass


def _failed(delivery: Delivery, row: Row, error: KafkaError) -> None:
    delivery.cause = error.name()
    if error.code() in _ABOUT_THE_RECORD:
        delivery.refused.append(row)
    else:
        delivery.failed.append(row)
