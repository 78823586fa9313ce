"""Sends a dead letter's record back to its topic and marks the letter, both or neither."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consent_api.errors import NotReplayedError
from consent_api.operations.dead_letters.reader import REPLAYED_AT, DeadLetter
from consent_contracts.cloudevents import rfc3339
from consent_contracts.topics import Topics
from consent_kafka.batches import UNFETCHABLE
from consent_kafka.dead_letters import TOO_LARGE, OriginalRecord, original
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros

# One transactional id for all replays of an installation: one that starts fences one that runs, so no letter goes
# back twice because two people replayed it at once.
TRANSACTIONAL_ID = "dead-letters-replay"

PRODUCER: dict[str, Any] = {"message_max_bytes": 2_097_152, "transaction_timeout_ms": 60_000}

_BATCH = 100
_TIMEOUT = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """`obstacle` is the reason why this letter stays; None when its record went back."""

    letter: DeadLetter
    obstacle: str | None = None


def not_replayable_reason(letter: DeadLetter, topics: Topics) -> str | None:
    """Why a letter must not go back to its topic, if so.

    Into consent.inbound, consent.changes (both lanes of each) and propagation.receipts a record may come late and
    twice; it goes back to the topic of its own lane. The suppression list and delivered state are compacted: there
    the last write wins, and an old one would undo a newer one.
    """
    if letter.reason == TOO_LARGE:
        return "it was too large to be kept whole; let its source send it again, smaller"
    if letter.reason == UNFETCHABLE:
        return "only its place could be kept; let its source send it again, in batches that unpack to less"
    if letter.topic in (topics.inbound, topics.inbound_bulk, topics.changes, topics.changes_bulk, topics.receipts):
        return None
    return f"{letter.topic} takes no old record back: it could replace a newer one; use consent-relay republish"


def unseal(letter: DeadLetter, keyring: Keyring) -> OriginalRecord:
    """The record as it was. Raises DecryptionFailedError."""
    place = {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
    return original({**place, "sealed_record": letter.sealed_record}, keyring)


class Replayer:
    """Fences every other replay when it is made. Raises NotReplayedError when Kafka does not let it."""

    def __init__(self, *, producer: Producer, keyring: Keyring, topics: Topics) -> None:
        self._producer = producer
        self._keyring = keyring
        self._topics = topics
        with _kafka():
            producer.init_transactions(_TIMEOUT)

    def replay(self, letters: Iterable[DeadLetter]) -> Iterator[Outcome]:
        """Key, value, headers and partition as they were; the timestamp is now. One transaction a batch."""
        remaining = iter(letters)
        while batch := list(islice(remaining, _BATCH)):
            yield from self._batch(batch)

    def _batch(self, letters: list[DeadLetter]) -> list[Outcome]:
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        with _kafka():
            self._producer.begin_transaction()
            try:
                outcomes = [self._one(letter, on_delivery) for letter in letters]
                self._producer.flush(_TIMEOUT)
                if failures:
                    raise KafkaException(failures[0])
                self._producer.commit_transaction(_TIMEOUT)
            except BaseException:
                self._producer.abort_transaction(_TIMEOUT)
                raise
        return outcomes

    def _one(self, letter: DeadLetter, on_delivery: Callable[[KafkaError | None, Message], None]) -> Outcome:
        why = not_replayable_reason(letter, self._topics)
        if why is not None:
            return Outcome(letter=letter, obstacle=why)
        try:
            record = unseal(letter, self._keyring)
        except DecryptionFailedError as error:
            return Outcome(letter=letter, obstacle=str(error))
        self._producer.produce(
            letter.topic,
            record.value,
            record.key,
            partition=letter.partition,
            headers=[*record.headers],
            on_delivery=on_delivery,
        )
        mark: list[tuple[str, str | bytes | None]] = [(REPLAYED_AT, rfc3339(now_micros()))]
        self._producer.produce(
            self._topics.dead_letters(letter.service),
            None,
            letter.coordinates.encode(),
            headers=mark,
            on_delivery=on_delivery,
        )
        return Outcome(letter=letter)


@contextmanager
def _kafka() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise NotReplayedError(error.args[0].str()) from error
