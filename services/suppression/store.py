"""The local copy of one partition's entries. Always a prefix of the topic, never ahead of it.

An entry is kept in one of two forms, told apart by the first byte: as recovered (Avro in Confluent framing, 0x00),
not decoded before it is needed, or compact (a MessagePack array). An entry that is due at a certain date (a permission
ends) carries the date in front, and an index of dates leads to it. Entries, their dates, and the offsets up to which
they are complete change in one atomic write, so a process that dies at any moment leaves a state from which the topic
can be read on.
"""

from __future__ import annotations

import logging
import shutil
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

from consent_contracts.decisions import Entry
from consent_state import StateStoreCorrupted

from .merge import EntryKey

logger = logging.getLogger(__name__)

FORMAT = 2
MAX_AGE_SECONDS = 3 * 24 * 3600
"""An older copy is thrown away: the topic drops tombstones (erasures) after 7 days, we must have seen them."""

_CHECKPOINT = b"\x00checkpoint"
_DUE = b"\x00due\x00"
_AVRO = 0
_DATED = b"\x01"
_DATE = struct.Struct(">Q")
_DATED_HEAD = 1 + _DATE.size
_encode_entry = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class Held(NamedTuple):
    """An entry as it is kept, compact or Avro, see `is_compact`; and when it is due."""

    data: bytes
    due: int | None


class Position(msgspec.Struct, frozen=True, array_like=True):
    """How far one topic's partition has been read: the id tells a topic from a later one of the same name."""

    topic_id: str
    offset: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything below these offsets is in the store. `at` is seconds since the epoch."""

    format: int
    partitions: int
    at: float
    positions: dict[str, Position]


_encode_checkpoint = msgspec.msgpack.Encoder().encode
_decode_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


class Store:
    """Entries by place. Used by one thread at a time."""

    def __init__(self, path: Path, *, temporary: bool = False) -> None:
        self._path = path
        self._temporary = temporary
        self._rdict = _open(path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """The store at `path`; what cannot be opened there is thrown away, the topic has it all.

        A directory that a live process still holds (a frozen predecessor) is left to it, and a temporary one taken.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return cls(path)
        except Exception as error:  # rocksdict reports every error as a bare Exception
            if "lock" in str(error).lower():
                beside = Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
                logger.warning("local state is held by another process; rebuilding it in %s", beside)
                return cls(beside, temporary=True)
            logger.warning("local state cannot be opened and is rebuilt from the topic: %s", error)
        shutil.rmtree(path)
        return cls(path)

    def checkpoint(self, *, partitions: int) -> Checkpoint | None:
        """The offsets up to which this store is complete; None when it is empty, foreign or too old."""
        with _broken():
            data = self._rdict.get(_CHECKPOINT)
        if data is None:
            return None
        try:
            checkpoint = _decode_checkpoint(data)
        except msgspec.DecodeError:
            return None
        age = time.time() - checkpoint.at
        if checkpoint.format != FORMAT or checkpoint.partitions != partitions or age > MAX_AGE_SECONDS:
            return None
        return checkpoint

    def clear(self) -> None:
        """Start from nothing."""
        self._rdict.close()
        shutil.rmtree(self._path)
        self._rdict = _open(self._path)

    def get(self, places: Iterable[EntryKey]) -> list[Held | None]:
        """What is stored for each place, in order, still encoded."""
        with _broken():
            found: list[bytes | None] = self._rdict.get([_key(place) for place in places])
        return [None if data is None else _held(data) for data in found]

    def write(
        self,
        entries: Mapping[EntryKey, Entry],
        checkpoint: Checkpoint,
        *,
        due: Mapping[EntryKey, int] | None = None,
        was_due: Mapping[EntryKey, int] | None = None,
    ) -> None:
        """Entries that the topic holds already, and how far that goes.

        `due` says which of them are due, and when; `was_due` what `get` has said of them before.
        """
        due, was_due = due or {}, was_due or {}
        batch = WriteBatch(raw_mode=True)
        for place, entry in entries.items():
            key, data, date, old = _key(place), _encode_entry(entry), due.get(place), was_due.get(place)
            if old is not None and old != date:
                batch.delete(_index(old, key))
            if date is None:
                batch.put(key, data)
            else:
                _put_dated(batch, key, data, date)
        batch.put(_CHECKPOINT, _encode_checkpoint(checkpoint))
        with _broken():
            self._rdict.write(batch)

    def due(self, now: int, limit: int) -> list[tuple[int, EntryKey]]:
        """The first `limit` dates up to `now`, and whose they are.

        An entry that was overwritten during recovery may have left a date behind: it is none when `get` says another.
        """
        found: list[tuple[int, EntryKey]] = []
        last = _index(now + 1, b"")
        with _broken():
            for row in self._rdict.keys(from_key=_DUE):
                if row >= last or len(found) == limit:
                    break
                (date,) = _DATE.unpack_from(row, len(_DUE))
                channel, _, address_key = row[len(_DUE) + _DATE.size :].decode().partition("\0")
                found.append((date, (channel, address_key)))
        return found

    def forget(self, dates: Iterable[tuple[int, EntryKey]]) -> None:
        """Dates that are none."""
        batch = WriteBatch(raw_mode=True)
        for date, place in dates:
            batch.delete(_index(date, _key(place)))
        with _broken():
            self._rdict.write(batch)

    def bulk(self) -> Bulk:
        """For recovery: a writer that skips the log, since what is lost by a crash is read again."""
        return Bulk(self._rdict)

    def __iter__(self) -> Iterator[bytes]:
        return (key for key in self._rdict.keys() if key[:1] != b"\0")  # noqa: SIM118 - an Rdict is no dict

    def close(self) -> None:
        self._rdict.close()
        if self._temporary:
            shutil.rmtree(self._path, ignore_errors=True)

    def discard(self) -> None:
        """Close, and leave nothing behind."""
        self._rdict.close()
        shutil.rmtree(self._path, ignore_errors=True)


class Bulk:
    """Many raw entries at once, each batch with its checkpoint."""

    def __init__(self, rdict: Any) -> None:
        self._rdict = rdict
        self._options = _unlogged()
        self.batch: Any = WriteBatch(raw_mode=True)

    def put(self, key: bytes, framed: bytes, due: int | None) -> None:
        """An entry as it came, under `key_prefix` and its address key."""
        if due is None:
            self.batch.put(key, framed)
        else:
            _put_dated(self.batch, key, framed, due)

    def write(self, checkpoint: Checkpoint) -> None:
        """Everything put into `batch` since the last call. Not on disk before `finish`."""
        self.batch.put(_CHECKPOINT, _encode_checkpoint(checkpoint))
        with _broken():
            self._rdict.write(self.batch, self._options)
        self.batch = WriteBatch(raw_mode=True)

    def finish(self) -> None:
        """Put on disk what the log does not hold, before writes that the log does hold follow."""
        with _broken():
            self._rdict.flush()


def key_prefix(channel: str) -> bytes:
    """What stands before the address key in the keys of a channel's entries."""
    return channel.encode() + b"\x00"


def _put_dated(batch: Any, key: bytes, data: bytes, date: int) -> None:
    batch.put(key, _DATED + _DATE.pack(date) + data)
    batch.put(_index(date, key), b"")


def _index(date: int, key: bytes) -> bytes:
    return _DUE + _DATE.pack(date) + key


def _held(data: bytes) -> Held:
    if data[:1] != _DATED:
        return Held(data, None)
    (date,) = _DATE.unpack_from(data, 1)
    return Held(data[_DATED_HEAD:], date)


def is_compact(data: bytes) -> bool:
    return data[0] != _AVRO


def decode_compact(data: bytes) -> Entry:
    entry: Entry = _decode_entry(data)
    return entry


def _unlogged() -> Any:
    options: Any = WriteOptions
    unlogged = options()
    unlogged.disable_wal = True
    return unlogged


@contextmanager
def _broken() -> Iterator[None]:
    """rocksdict reports every error of RocksDB as a bare Exception."""
    try:
        yield
    except Exception as error:
        raise StateStoreCorrupted(f"local state: {error}") from error


def _key(place: EntryKey) -> bytes:
    return f"{place[0]}\0{place[1]}".encode()


def _open(path: Path) -> Any:
    blocks = BlockBasedOptions()
    blocks.set_bloom_filter(10, False)
    blocks.set_block_cache(Cache(16 * 1024 * 1024))
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(32 * 1024 * 1024)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    return Rdict(str(path), options)
