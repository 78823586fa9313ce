"""Reads a list topic from its beginning to its present end, for fingerprints of all its entries or for some entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from consent_api.errors import ListUnreadableError
from consent_api.operations.verify.compare import Found, ListEntry, UnreadableEntry
from consent_api.operations.verify.fingerprint import BITS, NO_ENTRY, fingerprint, tenant_of
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, UnreadableError
from consent_contracts.partitioner import partition_of
from consent_contracts.records import entry_from_avro, verdicts_of

# Nothing is committed to the group. Small fetches: large ones read no faster, and take memory.
CONSUMER: dict[str, Any] = {
    "enable_partition_eof": True,
    "auto_offset_reset": "error",
    "max_partition_fetch_bytes": 512 * 1024,
    "queued_max_messages_kbytes": 4 * 1024,
    "fetch_queue_backoff_ms": 10,
}
_REQUEST_SECONDS = 10.0
_NO_PROGRESS_SECONDS = 30.0
_PRINT = (1 << BITS) - 1
_KEY = (1 << 60) - 1

Take = Callable[[Iterable[Any]], None]


def key_hash(key: bytes) -> int:
    """Replaces a key where a million are held in memory; the same within one process only."""
    return hash(key) & _KEY


def confluent_header(codec: Codec, topic: str) -> bytes:
    """How the values begin that this version writes to the topic."""
    return b"\0" + codec.schema_id(topic).to_bytes(4, "big")


class Fingerprints:
    """The fingerprints of a list's entries by key; those that the ledger has are taken out one by one."""

    def __init__(self) -> None:
        # The partition is above the fingerprint, in the same integer: two dictionaries would take twice the memory.
        self._held: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def put(self, key: bytes, partition: int, print_: int) -> None:
        number = key_hash(key)
        held = self._held.get(number)
        if held is not None and (held < 0 or held >> BITS != partition & 0xFF):
            # Entries under one key in two partitions: which of them a reader sees is chance.
            print_ = NO_ENTRY
        self._held[number] = print_ if print_ < 0 else (partition & 0xFF) << BITS | print_

    def remove(self, key: bytes) -> None:
        self._held.pop(key_hash(key), None)

    def take(self, key: bytes) -> int | None:
        """The fingerprint of this key's entry, which is then no longer held; None without one."""
        held = self._held.pop(key_hash(key), None)
        return held if held is None or held < 0 else held & _PRINT

    def rest(self) -> list[int]:
        """The hashes of the keys that were not taken out."""
        return list(self._held)


class ListReader:
    """The list topics, one at a time. `pace` is called after each batch of at most `batch` records."""

    def __init__(
        self,
        connect: Callable[[], Consumer],
        codec: Codec,
        *,
        partitions: int,
        batch: int,
        pace: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._codec = codec
        self._partitions = partitions
        self._batch = batch
        self._pace = pace

    def records(self, topic: str) -> int:
        """How many records the topic has at most, superseded ones too."""
        consumer = self._connect()
        try:
            return self._count(consumer, topic)
        except KafkaException as error:
            raise ListUnreadableError(f"{topic}: {error.args[0].name()}") from None
        finally:
            consumer.close()

    def fingerprints(
        self,
        topic: str,
        holds: Callable[[bytes], bool],
        *,
        tenant: str | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Fingerprints:
        """Of the newest entry of each key that `holds`, without the entries of other tenants if one is given.

        An unreadable entry, or one that another version has written, has a fingerprint that no entry has. `progress`
        takes the share that has been read.
        """
        found = Fingerprints()
        header = confluent_header(self._codec, topic)
        only = None if tenant is None else (tenant.encode(), b"")

        def take(messages: Iterable[Any]) -> None:
            for message in messages:
                key = message.key()
                if key is None or not holds(key):
                    continue
                value = message.value()
                if value is None or (only is not None and tenant_of(value) not in only):
                    found.remove(key)
                else:
                    found.put(key, message.partition(), fingerprint(value) if value[:5] == header else NO_ENTRY)

        self._read(topic, {}, take, progress)
        return found

    def entries(self, topic: str, wanted: Collection[int], ends: Mapping[int, int]) -> dict[bytes, Found]:
        """The newest entry of each key with one of these hashes, read at least to these offsets by partition; keys
        without an entry are missing. Of a key with entries in two partitions, one that is in a wrong one."""
        newest: dict[bytes, dict[int, bytes]] = {}

        def take(messages: Iterable[Any]) -> None:
            for message in messages:
                key = message.key()
                if key is None or key_hash(key) not in wanted:
                    continue
                if (value := message.value()) is None:
                    newest.get(key, {}).pop(message.partition(), None)
                else:
                    newest.setdefault(key, {})[message.partition()] = value

        self._read(topic, ends, take, lambda share: None)
        return {key: self._decoded(topic, key, values) for key, values in newest.items() if values}

    def _count(self, consumer: Consumer, topic: str) -> int:
        places = [TopicPartition(topic, each) for each in range(self._partitions)]
        offsets = [consumer.get_watermark_offsets(each, _REQUEST_SECONDS) for each in places]
        return sum(high - low for low, high in offsets)

    def _decoded(self, topic: str, key: bytes, values: Mapping[int, bytes]) -> Found:
        expected = partition_of(key, self._partitions)
        partition = next((each for each in values if each != expected), expected)
        try:
            datum = self._codec.decode(topic, values[partition])
            return ListEntry(entry=entry_from_avro(datum), verdicts=verdicts_of(datum), partition=partition)
        except (UnreadableError, InvalidRecordError) as error:
            return UnreadableEntry(reason=str(error))

    def _read(self, topic: str, ends: Mapping[int, int], take: Take, progress: Callable[[float], None]) -> None:
        consumer = self._connect()
        try:
            self._read_to_end(consumer, topic, ends, take, progress)
        except KafkaException as error:
            raise ListUnreadableError(f"{topic}: {error.args[0].name()}") from None
        finally:
            consumer.close()

    def _read_to_end(
        self,
        consumer: Consumer,
        topic: str,
        ends: Mapping[int, int],
        take: Take,
        progress: Callable[[float], None],
    ) -> None:
        # For the display alone: what counts as the end is what librdkafka reports, below an open transaction.
        total = self._count(consumer, topic)
        consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(self._partitions)])
        unread, read, moved = set(range(self._partitions)), 0, time.monotonic()
        while unread:
            batch: list[Any] = []
            for message in consumer.consume(self._batch, 0.5):
                error, partition = message.error(), message.partition()
                if error is None:
                    batch.append(message)
                elif error.code() == KafkaError._PARTITION_EOF and partition is not None:
                    if (message.offset() or 0) >= ends.get(partition, 0):
                        unread.discard(partition)
                elif error.fatal() or not error.retriable():
                    raise KafkaException(error)
            if batch:
                moved = time.monotonic()
                take(batch)
                read += len(batch)
                progress(min(1.0, read / total) if total > 0 else 1.0)
            elif unread and time.monotonic() - moved > _NO_PROGRESS_SECONDS:
                raise ListUnreadableError(f"{topic} was not read to its end: partitions {sorted(unread)}")
            self._pace()
