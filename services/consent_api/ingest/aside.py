"""What could not be recorded, into this service's dead letters: acknowledged before any offset moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consent_runtime.dead_letters import Letters

from .record import Consumed

SERVICE = "consent-api"

# A dead letter is its record and a little more; the largest record must still fit, or it could never be put aside.
PRODUCER: dict[str, Any] = {"delivery_timeout_ms": 5_000, "message_max_bytes": 2_097_152}

_WAIT = 7.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A record that cannot be recorded. `reason` is a code, `error` holds no value of the record."""

    record: Consumed
    reason: str
    error: str


class BrokerAway(Exception):
    """Not every dead letter was acknowledged: the batch has to be tried again."""


class Aside:
    """Sends dead letters in batches. Repeating one is harmless: its key is the place of the record."""

    def __init__(self, *, producer: Producer, letters: Letters) -> None:
        self._producer = producer
        self._letters = letters

    def put(self, rejected: Sequence[Rejected]) -> None:
        """Returns once the broker has acknowledged all of them. Raises BrokerAway."""
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for each in rejected:
            key, value, headers = self._letters.letter(each.record, each.reason, each.error)
            try:
                self._producer.produce(self._letters.topic, value, key, on_delivery=on_delivery, headers=[*headers])
            except BufferError as full:
                raise BrokerAway("the queue of dead letters is full") from full
            except KafkaException as refused:
                failures.append(refused.args[0])
        left = self._producer.flush(_WAIT)
        for error in failures:
            if error.fatal():
                # Beyond recovery for this producer: the process that takes our place begins with a new one.
                raise KafkaException(error)
        if failures or left:
            raise BrokerAway(failures[-1].name() if failures else "no answer")
        for each in rejected:
            self._letters.count(each.record, each.reason)
