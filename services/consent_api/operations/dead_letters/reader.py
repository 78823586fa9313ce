"""The dead letters of every service, read from the beginning to where they end now.

A letter that was replayed is marked by a record with the same key and no value, written in one transaction with the
replayed record: a letter is marked if, and only if, its record went back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from consent_api.errors import KafkaUnavailableError
from consent_contracts.checks import check_moments
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, UnreadableError
from consent_contracts.topics import SERVICES, Topics
from consent_kafka import clients

REPLAYED_AT = "replayed-at"

_PATIENCE = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One record put aside. `coordinates` are where it was: topic:partition:offset. Times in microseconds."""

    coordinates: str
    service: str
    topic: str
    partition: int
    offset: int
    reason: str
    error: str
    failed_at: int
    sealed_record: bytes = field(repr=False)
    replayed_at: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which letters; None or empty means all. `replayed`: also those that went back already."""

    service: str | None = None
    reason: str | None = None
    coordinates: frozenset[str] = frozenset()
    replayed: bool = False

    def matches(self, letter: DeadLetter) -> bool:
        return (
            (self.service is None or letter.service == self.service)
            and (self.reason is None or letter.reason == self.reason)
            and (not self.coordinates or letter.coordinates in self.coordinates)
            and (self.replayed or letter.replayed_at is None)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicRecord:
    """A record of a dead letter topic: a letter, or, without a value, the mark of one."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    mark: str | None


class DeadLetterReader:
    """Reads twice: first the marks, which are few and come after their letters, then the letters, streamed."""

    def __init__(self, *, connect: Callable[[], Consumer], codec: Codec, topics: Topics) -> None:
        self._connect = connect
        self._codec = codec
        self._topics = topics

    def letters(self, wanted: Filter) -> Iterator[DeadLetter]:
        """Those that match `wanted`, each once, oldest first within a service. Raises KafkaUnavailableError."""
        services = SERVICES if wanted.service is None else (wanted.service,)
        names = [self._topics.dead_letters(service) for service in services]
        marks = {each.key: each.mark for each in self._records(names) if each.value is None}
        seen: set[tuple[str, str]] = set()
        for each in self._records(names):
            if each.value is None:
                continue
            letter = self.letter(each, each.value, marks.get(each.key))
            # A crash before its offset was committed puts a record aside twice.
            if wanted.matches(letter) and (letter.service, letter.coordinates) not in seen:
                seen.add((letter.service, letter.coordinates))
                yield letter

    def letter(self, record: TopicRecord, value: bytes, replayed_at: str | None) -> DeadLetter:
        try:
            datum = self._codec.decode(record.topic, value)
            check_moments(datum, "failed_at")
        except (UnreadableError, InvalidRecordError) as error:
            # Another producer wrote it. It is shown; its topic is the dead letter topic, so it can be replayed nowhere.
            return DeadLetter(
                coordinates=f"{record.topic}:{record.partition}:{record.offset}",
                service=next(each for each in SERVICES if self._topics.dead_letters(each) == record.topic),
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=error.reason,
                error=f"this is no dead letter: {error}",
                failed_at=record.timestamp * 1_000,
                sealed_record=b"",
            )
        return DeadLetter(coordinates=record.key.decode("utf-8", "replace"), replayed_at=replayed_at, **datum)

    def _records(self, topics: Sequence[str]) -> Iterator[TopicRecord]:
        """Up to where the topics end now: what is put aside meanwhile (a replayed record that is still wrong) is
        for the next time, or a replay would chase its own tail."""
        consumer = self._connect()
        try:
            ends = _ends(consumer, topics)
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in ends])
            while ends:
                message = consumer.poll(_PATIENCE)
                if message is None:
                    raise KafkaUnavailableError("Kafka does not answer")
                topic, partition, offset = message.topic(), message.partition(), message.offset()
                if topic is None or partition is None or offset is None:
                    raise KafkaUnavailableError(str(message.error()))
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaUnavailableError(error.name())
                    ends.pop((topic, partition), None)
                elif (topic, partition) in ends:
                    if offset + 1 >= ends[topic, partition]:
                        del ends[topic, partition]
                    yield TopicRecord(
                        topic=topic,
                        partition=partition,
                        offset=offset,
                        timestamp=message.timestamp()[1],
                        key=clients.as_bytes(message.key()) or b"",
                        value=clients.as_bytes(message.value()),
                        mark=_mark(clients.headers(message)),
                    )
        finally:
            consumer.close()


def _ends(consumer: Consumer, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    ends: dict[tuple[str, int], int] = {}
    try:
        for topic in topics:
            found = consumer.list_topics(topic, timeout=_PATIENCE).topics[topic]
            if found.error is not None:
                raise KafkaUnavailableError(f"{topic}: {found.error.name()}; run: consent-relay topics apply")
            for partition in found.partitions:
                _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_PATIENCE)
                ends[topic, partition] = end
    except KafkaException as error:
        raise KafkaUnavailableError(error.args[0].name()) from None
    return ends


def _mark(headers: object) -> str | None:
    if not isinstance(headers, list):
        return None
    marks = [value for name, value in headers if name == REPLAYED_AT and value is not None]
    return marks[0].decode("utf-8", "replace") if marks else None
