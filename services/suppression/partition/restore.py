"""Brings a partition's entries to the ends of its suppression topics.

Called after `init_transactions`: from then on no other merge worker can commit to these partitions, so the high
watermarks that are read here remain the ends until this worker writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import Consumer, Message
from confluent_kafka.admin import AdminClient

from consent_contracts import entry_layout
from consent_contracts.codec import Codec
from consent_contracts.errors import UnreadableError
from consent_kafka import clients
from consent_state import (
    Batch,
    RestoreFailedError,
    RestoreStoppedError,
    TableReader,
    TopicPartition,
    WriteBatch,
    high_watermarks,
    restore,
    start_positions,
)
from suppression.errors import RetriableError, StoppedError
from suppression.merge.expiry import may_expire, read_next_expiry
from suppression.partition.store import EntryStore, key_prefix, put_row


class UnrecognisedRecord(NamedTuple):
    """A record on a suppression topic that the merge stage did not write, with the fields that dead letters require."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreResult:
    """How many records were read, how long that took, and which records are not entries and why."""

    records: int
    seconds: float
    unrecognised: Sequence[tuple[UnrecognisedRecord, UnreadableError]] = ()


class StateRestorer:
    """Reads partition `partition` of the suppression topics into a store, from its positions where these fit."""

    def __init__(
        self,
        *,
        make_consumer: Callable[[], Consumer],
        admin: AdminClient,
        codec: Codec,
        channels: Mapping[str, str],
        partition: int,
        stopping: threading.Event,
    ) -> None:
        """`make_consumer` gives a `consent_state.table_consumer`. `channels` maps each topic to its channel.

        `stopping` is checked between batches.
        """
        self._make_consumer = make_consumer
        self._admin = admin
        self._codec = codec
        self._partition = partition
        self._stopping = stopping
        self._prefixes = {topic: key_prefix(channel) for topic, channel in channels.items()}
        self._known_headers: set[bytes] = set()
        # Not part of one attempt: a failed one has stored the positions after the records that it passed over.
        self._unrecognised: list[tuple[UnrecognisedRecord, UnreadableError]] = []
        self._our_headers = frozenset(b"\0" + codec.schema_id(topic).to_bytes(4, "big") for topic in channels)

    def restore(self, store: EntryStore, *, waiting: Callable[[str], None], beat: Callable[[], None]) -> RestoreResult:
        """Return when the store holds everything up to the high watermarks. `waiting` takes what this waits for, `beat`
        is called while it goes on or waits.

        Raises RetriableError when the broker does not answer, StoppedError, and StateStoreCorruptedError.
        """
        partitions = [TopicPartition(topic, self._partition) for topic in self._prefixes]
        try:
            start = start_positions(store.state, self._admin, partitions)
            ends = high_watermarks(self._admin, partitions)
            reader = TableReader(self._make_consumer, start.positions)
            try:
                restored = restore(
                    store.state,
                    reader,
                    ends,
                    admin=self._admin,
                    apply=self._apply,
                    waiting=waiting,
                    beat=beat,
                    stopping=self._stopping,
                )
            finally:
                reader.close()
        except RestoreFailedError as error:
            raise RetriableError(str(error)) from error
        except RestoreStoppedError as error:
            raise StoppedError(str(error)) from error
        unrecognised, self._unrecognised = self._unrecognised, []
        return RestoreResult(records=restored.records, seconds=restored.seconds, unrecognised=unrecognised)

    def _apply(self, batch: Batch, writes: WriteBatch) -> None:
        prefix, known, ours = self._prefixes[batch.partition.topic], self._known_headers, self._our_headers
        read_at = time.monotonic()
        for message in batch.messages:
            key, value = message.key(), message.value()
            if not key or not key.isascii():
                wrong = UnreadableError("not_framed", "the record's key is no address key")
                self._unrecognised.append((_unrecognised(message), wrong))
            elif value is None:
                writes.delete(prefix + key)
                writes.purge(prefix + key)
            elif value[:5] in known or self._is_entry(message, read_at):
                if value[:5] not in ours or entry_layout.erased_at(value, key) is not None:
                    # An older record of the address may just have been stored.
                    writes.purge(prefix + key)
                # Of values that are not laid out as this version writes them, only the headers give an expiry time.
                expires = value[:5] not in ours or may_expire(value)
                put_row(writes, prefix + key, value, read_next_expiry(clients.headers(message)) if expires else None)
            else:
                # It may have been an entry under a schema id that the registry has forgotten. Passing over it would
                # let the next old permission count alone.
                writes.put(prefix + key, _UNREADABLE)

    def _is_entry(self, message: Message, read_at: float) -> bool:
        """Decodes one record of each schema; the bodies of the others are read when first needed."""
        topic, value = message.topic(), message.value()
        assert topic is not None
        assert isinstance(value, bytes)
        try:
            self._codec.decode(topic, value, read_at=read_at)
        except UnreadableError as error:
            self._unrecognised.append((_unrecognised(message), error))
            return False
        self._known_headers.add(value[:5])
        return True


_UNREADABLE = b"\x00\x00\x00\x00"
"""Stored for an entry that cannot be read: too short for Avro, so its first use raises EntryUnreadableError."""


def _unrecognised(message: Message) -> UnrecognisedRecord:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return UnrecognisedRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        key=clients.as_bytes(message.key()),
        value=clients.as_bytes(message.value()),
        headers=clients.headers(message),
        timestamp=message.timestamp()[1],
    )
