"""What could not be recorded, into this service's dead letters: acknowledged before any offset moves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consent_api.errors import DeadLettersNotWrittenError
from consent_kafka.batches import UNFETCHABLE
from consent_kafka.dead_letters import TOO_LARGE, DeadLetterBuilder, TruncatedRecord, truncated_error

if TYPE_CHECKING:
    from consent_api.ingest.record import Consumed
    from consent_kafka.transport.api import Record

SERVICE = "consent-api"

# A dead letter is its record and a little more; the largest record must still fit into one.
PRODUCER: dict[str, Any] = {"delivery_timeout_ms": 5_000, "message_max_bytes": 2_097_152}

_WAIT = 7.0

NOT_STORABLE = "not_storable"
"""The reason of a readable record that the database refuses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedRecord:
    """A record that cannot be recorded. `reason` is a code, `error` holds no value of the record."""

    record: "Record"
    reason: str
    error: str


def without_unfetchable(records: Sequence["Consumed"]) -> tuple[list["Consumed"], list[RejectedRecord]]:
    """The records that have been fetched, and the others as dead letters that hold their places."""
    rejected = [
        RejectedRecord(record=each, reason=UNFETCHABLE, error=each.unfetchable) for each in records if each.unfetchable
    ]
    return [each for each in records if not each.unfetchable], rejected


class DeadLetterWriter:
    """Sends dead letters in batches. Repeating one is harmless: its key is the place of the record."""

    def __init__(self, *, producer: Producer, letters: DeadLetterBuilder) -> None:
        self._producer = producer
        self._letters = letters

    def write(self, rejected: Sequence[RejectedRecord]) -> None:
        """Returns once the broker has acknowledged all of them. Raises DeadLettersNotWrittenError.

        A record that is too large once it is sealed is cut.
        """
        too_large = self._send(rejected)
        if too_large and self._send([_cut(each) for each in too_large]):
            raise DeadLettersNotWrittenError("the topic of the dead letters takes none of this size")

    def _send(self, rejected: Sequence[RejectedRecord]) -> list[RejectedRecord]:
        """What is too large; the rest has been acknowledged."""
        failures: list[tuple[KafkaError, RejectedRecord]] = []

        def settled(each: RejectedRecord) -> Callable[[KafkaError | None, Message], None]:
            def on_delivery(error: KafkaError | None, _: Message) -> None:
                if error is not None:
                    failures.append((error, each))

            return on_delivery

        for each in rejected:
            key, value, headers = self._letters.letter(each.record, each.reason, each.error)
            try:
                self._producer.produce(self._letters.topic, value, key, on_delivery=settled(each), headers=[*headers])
            except BufferError as full:
                raise DeadLettersNotWrittenError("the queue of dead letters is full") from full
            except KafkaException as refused:
                failures.append((refused.args[0], each))
        left = self._producer.flush(_WAIT)
        for error, _ in failures:
            if error.fatal():
                # Beyond recovery for this producer: the process that takes our place begins with a new one.
                raise KafkaException(error)
            if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise DeadLettersNotWrittenError(error.name())
        if left:
            raise DeadLettersNotWrittenError("no answer")
        too_large = [each for _, each in failures]
        for each in rejected:
            if each not in too_large:
                self._letters.count(each.record, each.reason, each.error)
        return too_large


def _cut(rejected: RejectedRecord) -> RejectedRecord:
    record = rejected.record
    return RejectedRecord(
        record=TruncatedRecord.of(record),
        reason=TOO_LARGE,
        error=truncated_error(record, rejected.reason, rejected.error),
    )
