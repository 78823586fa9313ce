"""One partition's entries in a state store: their keys, their two forms, and the index of expiry times.

The first byte of a value names its form: 0x00 begins an entry as it was restored (Avro in Confluent framing, decoded
when it is first needed), 0x01 one that expires (a permission ends), with the time before the entry, and anything else
is the compact form (a MessagePack array). An index of expiry times leads to the entries that must be written again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from consent_contracts.decisions import AddressEntry
from consent_state import Compactor, Position, Rebuild, StateStore, TopicPartition, WriteBatch
from consent_state.store import MIB
from suppression.merge.rule import EntryKey

FORMAT_VERSION = 3

_EXPIRY_PREFIX = b"\x00due\x00"
_ENTRIES_BEGIN, _ENTRIES_END = b"\x01", b"\xff"
_AVRO = 0
_EXPIRING = b"\x01"
_MICROS = struct.Struct(">Q")
_EXPIRING_HEAD = 1 + _MICROS.size
_encode_entry = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(AddressEntry).decode


class StoredEntry(NamedTuple):
    """An entry's bytes, compact or Avro (see `is_compact`), and when it expires, in microseconds."""

    data: bytes
    due: int | None


class EntryStore:
    """The entries of one partition of all suppression topics. Used by one thread at a time."""

    def __init__(self, state: StateStore) -> None:
        """`state` also holds the positions in the suppression topics."""
        self.state = state

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        partitions: int,
        on_rebuild: Callable[[Rebuild], None] | None = None,
        compactor: Compactor | None = None,
    ) -> EntryStore:
        """As `StateStore.open`: damaged state is replaced by an empty store, StateStoreUnavailableError is raised."""
        return cls(
            StateStore.open(
                path,
                format_version=FORMAT_VERSION,
                partitions=partitions,
                block_cache_bytes=16 * MIB,
                write_buffer_bytes=32 * MIB,
                on_rebuild=on_rebuild,
                compactor=compactor,
            )
        )

    def get(self, keys: Iterable[EntryKey]) -> list[StoredEntry | None]:
        """The entry of each key, in order, still encoded."""
        return [None if data is None else _stored(data) for data in self.state.get([_row_key(key) for key in keys])]

    def write(
        self,
        entries: Mapping[EntryKey, AddressEntry],
        positions: Mapping[TopicPartition, Position],
        *,
        due: Mapping[EntryKey, int] | None = None,
        was_due: Mapping[EntryKey, int] | None = None,
        erased: Collection[EntryKey] = (),
    ) -> None:
        """Entries that are committed to the topics, and the positions after them.

        `due` gives the new expiry times, `was_due` those that `get` returned. What was stored of those that are
        `erased` leaves the files too.
        """
        due, was_due = due or {}, was_due or {}
        batch = self.state.batch()
        for entry_key, entry in entries.items():
            key, data, expiry, old = (
                _row_key(entry_key),
                _encode_entry(entry),
                due.get(entry_key),
                was_due.get(entry_key),
            )
            if old is not None and old != expiry:
                batch.delete(_expiry_row(old, key))
            put_row(batch, key, data, expiry)
        for entry_key in erased:
            batch.purge(_row_key(entry_key))
        self.state.write(batch, positions=positions)

    def expiring_before(self, now: int, limit: int) -> list[tuple[int, EntryKey]]:
        """The first `limit` expiry times up to `now`, with their entries.

        Restore can leave stale index rows; a row is valid only if `get` returns the same expiry time.
        """
        found: list[tuple[int, EntryKey]] = []
        for row, _ in self.state.scan(_EXPIRY_PREFIX, _expiry_row(now + 1, b""), limit):
            (expiry,) = _MICROS.unpack_from(row, len(_EXPIRY_PREFIX))
            channel, _, address_key = row[len(_EXPIRY_PREFIX) + _MICROS.size :].decode().partition("\0")
            found.append((expiry, (channel, address_key)))
        return found

    def remove_expiry(self, rows: Iterable[tuple[int, EntryKey]]) -> None:
        """Delete stale rows of the index."""
        batch = self.state.batch()
        for expiry, key in rows:
            batch.delete(_expiry_row(expiry, _row_key(key)))
        self.state.write(batch)

    def __iter__(self) -> Iterator[bytes]:
        """The keys of all entries."""
        return (key for key, _ in self.state.scan(_ENTRIES_BEGIN, _ENTRIES_END))


def key_prefix(channel: str) -> bytes:
    """The beginning of the row keys of a channel's entries; the address key follows."""
    return channel.encode() + b"\x00"


def put_row(batch: WriteBatch, key: bytes, data: bytes, expiry: int | None) -> None:
    """An entry in either form under a row key, and its row in the index."""
    if expiry is None:
        batch.put(key, data)
    else:
        batch.put(key, _EXPIRING + _MICROS.pack(expiry) + data)
        batch.put(_expiry_row(expiry, key), b"")


def is_compact(data: bytes) -> bool:
    return data[0] != _AVRO


def decode_compact(data: bytes) -> AddressEntry:
    entry: AddressEntry = _decode_entry(data)
    return entry


def _expiry_row(expiry: int, key: bytes) -> bytes:
    return _EXPIRY_PREFIX + _MICROS.pack(expiry) + key


def _stored(data: bytes) -> StoredEntry:
    if data[:1] != _EXPIRING:
        return StoredEntry(data, None)
    (expiry,) = _MICROS.unpack_from(data, 1)
    return StoredEntry(data[_EXPIRING_HEAD:], expiry)


def _row_key(key: EntryKey) -> bytes:
    return f"{key[0]}\0{key[1]}".encode()
