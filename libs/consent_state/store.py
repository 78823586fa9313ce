"""A RocksDB database that holds what was read from topics, and up to which offsets.

Keys and values are opaque bytes. Rows and positions change in one atomic write, so the store always is a prefix of the
topics: a process that dies at any moment leaves a state from which the topics can be read on. Whatever cannot be used
is destroyed, because the topics hold everything.

There is no write-ahead log, as in Kafka Streams: the topics are that log. With one, a truncated MANIFEST forgets a
flushed file, RocksDB replays the log after it without noticing, and rows are missing below the positions (seen in 13 of
500 damaged directories). Without it every state that RocksDB opens is a prefix of what was written.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from weakref import WeakSet

import msgspec
import rocksdict

from consent_state.compactor import Compactor
from consent_state.errors import (
    StateError,
    StateStoreCorruptedError,
    StateStoreLockedError,
    StateStoreUnavailableError,
)
from consent_state.key_ranges import KeyRange, joined
from consent_state.positions import Position, Rebuild, RebuildReason, TopicPartition

log = logging.getLogger(__name__)

MAX_AGE_SECONDS = 3 * 24 * 3600
"""A store written longer ago is not used: the topics drop tombstones after 7 days, and it must have seen them."""

MIB = 1024 * 1024

FLUSH_SECONDS = 60.0
"""A crash loses the writes since the last flush: after this time, or a full write buffer, at the latest."""

_POSITIONS_KEY = b"\xff\xffpositions"
_IN_MEMORY = ("rocksdb.cur-size-all-mem-tables", "rocksdb.block-cache-usage")
SCAN_ROWS = 1_000


class _Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The stored form of the positions. `at` is seconds since the epoch. `purges`: what is to be compacted still."""

    format: int
    partitions: int
    at: float
    positions: list[tuple[str, int, Position]]
    purges: tuple[KeyRange, ...] = ()


_encode_checkpoint = msgspec.msgpack.Encoder().encode
_decode_checkpoint = msgspec.msgpack.Decoder(_Checkpoint).decode


class WriteBatch:
    """Changes that `StateStore.write` applies together. Of two keys the second is not included.

    `purge` and `purge_range` change no row: what was stored under these keys before is to leave the database's files,
    too.
    """

    __slots__ = ("delete", "delete_range", "purged", "put", "raw")

    def __init__(self) -> None:
        # Bound methods of the native batch: a restore calls them a million times.
        self.raw: Any = rocksdict.WriteBatch(raw_mode=True)
        self.put: Callable[[bytes, bytes], None] = self.raw.put
        self.delete: Callable[[bytes], None] = self.raw.delete
        self.delete_range: Callable[[bytes, bytes], None] = self.raw.delete_range
        self.purged: list[KeyRange] = []

    def __len__(self) -> int:
        return int(self.raw.len())

    def purge(self, key: bytes) -> None:
        self.purged.append((key, key + b"\0"))

    def purge_range(self, start: bytes, stop: bytes) -> None:
        self.purged.append((start, stop))


class StateStore:
    """Rows and positions in one database. One thread writes, flushes, clears and closes; any thread may read, and one
    other compacts.

    Keys beginning with 0xFF are reserved. After `close` and `destroy`, and after a `clear` that failed, every
    operation raises StateStoreUnavailableError.
    """

    _all: ClassVar[WeakSet[StateStore]] = WeakSet()
    _all_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        path: Path,
        *,
        format_version: int,
        partitions: int,
        block_cache_bytes: int,
        write_buffer_bytes: int,
        on_rebuild: Callable[[Rebuild], None] | None,
        compactor: Compactor | None,
    ) -> None:
        """Use `open`."""
        self._wanted_path = path
        self._path = path
        self._temporary = False
        self._format_version = format_version
        self._partitions = partitions
        self._block_cache_bytes = block_cache_bytes
        self._write_buffer_bytes = write_buffer_bytes
        self._on_rebuild = on_rebuild
        self._compactor = compactor
        self._database: Any = None
        self._reading = threading.Lock()
        self._compacting = threading.Lock()
        self._purges_lock = threading.Lock()
        self._purges: tuple[KeyRange, ...] = ()
        self._purging: tuple[KeyRange, ...] = ()
        """What is being compacted: pending until that has ended."""
        self._positions: dict[TopicPartition, Position] = {}
        self._without_wal = _without_wal()
        self._flushed = time.monotonic()
        self.rebuild: Rebuild | None = None
        with self._all_lock:
            self._all.add(self)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        format_version: int,
        partitions: int,
        block_cache_bytes: int = 8 * MIB,
        write_buffer_bytes: int = 8 * MIB,
        on_rebuild: Callable[[Rebuild], None] | None = None,
        compactor: Compactor | None = None,
    ) -> StateStore:
        """The store in the directory `path`, created when it does not exist.

        `format_version` is the version of the caller's keys and values, `partitions` the partition count of the topics.
        A store that is damaged, has another format or partition count, or is older than MAX_AGE_SECONDS, is destroyed
        and created again, empty; `rebuild` then holds the reason. A directory that a live process holds (a frozen
        predecessor) is left alone: a temporary sibling takes its place and is removed by `close`. `on_rebuild` gets
        every reason for which the store starts from nothing, here and in `clear`, to count it. `compactor` is asked to
        call `compact` whenever something is to be purged; None: the caller does. Raises StateStoreUnavailableError when
        the file system does not let a database be created.
        """
        store = cls(
            path,
            format_version=format_version,
            partitions=partitions,
            block_cache_bytes=block_cache_bytes,
            write_buffer_bytes=write_buffer_bytes,
            on_rebuild=on_rebuild,
            compactor=compactor,
        )
        try:
            rebuild = store._open_existing()
        except StateStoreCorruptedError as error:
            rebuild = Rebuild(RebuildReason.CORRUPTED, str(error))
        if rebuild is not None:
            store.clear(rebuild)
        store._request_compaction()
        return store

    @classmethod
    def all_memory_bytes(cls) -> int:
        """`memory_bytes` of all stores of this process."""
        with cls._all_lock:
            stores = list(cls._all)
        return sum(store.memory_bytes for store in stores)

    @property
    def memory_bytes(self) -> int:
        """What is in memory: rows that are not on disk yet, up to `write_buffer_bytes`, and twice that while they are
        being written to disk; and blocks that were read, up to `block_cache_bytes`. Safe to read in any thread."""
        with self._reading:
            database = self._database
            return 0 if database is None else sum(database.property_int_value(each) or 0 for each in _IN_MEMORY)

    @property
    def path(self) -> Path:
        """The directory that is in use."""
        return self._path

    @property
    def positions(self) -> Mapping[TopicPartition, Position]:
        """Everything below these offsets is in the store. Empty when it has to be restored from the beginning."""
        return MappingProxyType(self._positions)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, in order; None where there is none."""
        if not keys:
            return []
        with self._reading, self._rocksdb_errors() as database:
            found: list[bytes | None] = database.get(list(keys))
        return found

    def scan(self, start: bytes, stop: bytes, limit: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, by key, `limit` at most.

        Reads 1,000 rows at a time, so writes between two of them are seen, and no native iterator outlives a call:
        an open one would keep the database locked after `close`.
        """
        remaining = limit
        while True:
            size = SCAN_ROWS if remaining is None else min(SCAN_ROWS, remaining)
            rows = self._scan_rows(start, stop, size) if size > 0 else []
            yield from rows
            if len(rows) < size or not rows:
                return
            start = rows[-1][0] + b"\0"
            if remaining is not None:
                remaining -= len(rows)

    def batch(self) -> WriteBatch:
        """An empty batch for `write`."""
        return WriteBatch()

    def write(
        self,
        batch: WriteBatch,
        *,
        positions: Mapping[TopicPartition, Position] | None = None,
        forgotten: Collection[TopicPartition] = (),
    ) -> None:
        """Apply `batch` and these positions (others keep their values) in one atomic write; the batch is used up.

        `forgotten`: partitions that are read no more and lose their positions; their rows are the caller's to delete.
        What a crash of the process loses is a suffix of the writes, of a minute at most, positions included.
        """
        merged = self._positions
        if positions is not None or forgotten or batch.purged:
            known = {at: position for at, position in self._positions.items() if at not in forgotten}
            merged = {**known, **(positions or {})}
            checkpoint = _Checkpoint(
                format=self._format_version,
                partitions=self._partitions,
                at=time.time(),
                positions=[(at.topic, at.partition, position) for at, position in merged.items()],
                purges=joined(self._pending_purges(), batch.purged),
            )
            batch.put(_POSITIONS_KEY, _encode_checkpoint(checkpoint))
        with self._rocksdb_errors() as database:
            database.write(batch.raw, self._without_wal)
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                database.flush(wait=False)
                self._flushed = time.monotonic()
        self._positions = merged
        if batch.purged:
            # After the rows: a compaction between the two would count the range as done with the old row still in it.
            with self._purges_lock:
                self._purges = joined(self._purges, batch.purged)
            self._request_compaction()

    def compact(self) -> int:
        """Return when the files hold nothing any more of what was to be purged at the call; the ranges of it.

        Takes seconds where the store is large. A close ends it, and what is left is compacted after the next `open`; so
        is what was done, where nothing has been written since. Raises StateStoreCorruptedError.
        """
        with self._compacting:
            database = self._database
            with self._purges_lock:
                # What an earlier one did not end with is done again.
                self._purging, self._purges = joined(self._purging, self._purges), ()
            ranges = self._purging
            if database is None or not ranges:
                return 0
            try:
                with self._rocksdb_errors():
                    database.flush()
                    for start, stop in ranges:
                        database.compact_range(start, stop, _beside_others())
            except StateError:
                if self._database is database:
                    raise
            if self._database is not database:
                return 0  # Cut short.
            with self._purges_lock:
                self._purging = ()
            return len(ranges)

    def flush(self) -> None:
        """Return when everything written is in the database's files and outlives a crash."""
        with self._rocksdb_errors() as database:
            database.flush()
        self._flushed = time.monotonic()

    def clear(self, rebuild: Rebuild | None = None) -> None:
        """Start from nothing in a new database. `rebuild` gives the reason, which is logged.

        Works on a damaged or closed store too. Raises StateStoreUnavailableError.
        """
        self._close_database()
        if rebuild is not None:
            log.log(
                logging.INFO if rebuild.reason is RebuildReason.ABSENT else logging.WARNING,
                "local state is restored from the beginning of the topics",
                extra={
                    "directory": str(self._wanted_path),
                    "reason": rebuild.reason.value,
                    "detail": rebuild.detail,
                },
            )
            if self._on_rebuild is not None:
                self._on_rebuild(rebuild)
        self.rebuild = rebuild
        if not self._remove_directory():
            # RocksDB would open what remains, and rows that the topics no longer hold would come back.
            raise StateStoreUnavailableError(f"the directory {self._path} cannot be removed")
        if rebuild is not None and rebuild.reason is RebuildReason.LOCKED:
            self._use_temporary_directory()
        try:
            try:
                self._database = self._open_database()
            except StateStoreLockedError:
                # RocksDB of this process has not let go of the directory just removed.
                self._use_temporary_directory()
                self._database = self._open_database()
        except (StateStoreCorruptedError, StateStoreLockedError) as error:
            raise StateStoreUnavailableError(f"no database can be created in {self._path}: {error}") from error

    def close(self) -> None:
        """Close the database; a temporary directory is removed. Never raises an error of RocksDB."""
        self._close_database()
        if self._temporary:
            self._remove_directory()

    def destroy(self) -> None:
        """Close the database and remove its directory. Never raises an error of RocksDB."""
        self._close_database()
        self._remove_directory()

    def _open_existing(self) -> Rebuild | None:
        """Open what the directory holds and load its positions, or return why that is not possible."""
        if not (self._path / "CURRENT").exists():
            # RocksDB would create a database over the remains of one without its CURRENT file.
            remains = self._path.is_dir() and any(self._path.iterdir())
            if remains:
                return Rebuild(RebuildReason.CORRUPTED, "the directory has no CURRENT file")
            return Rebuild(RebuildReason.ABSENT, "there is none yet")
        try:
            self._database = self._open_database()
        except StateStoreLockedError as error:
            return Rebuild(RebuildReason.LOCKED, f"another process holds the directory: {error}")
        with self._rocksdb_errors() as database:
            data = database.get(_POSITIONS_KEY)
        if data is None:
            return Rebuild(RebuildReason.ABSENT, "it holds no positions")
        try:
            checkpoint = _decode_checkpoint(data)
        except msgspec.DecodeError as error:
            return Rebuild(RebuildReason.FORMAT, f"its positions cannot be decoded: {error}")
        if (checkpoint.format, checkpoint.partitions) != (self._format_version, self._partitions):
            return Rebuild(
                RebuildReason.FORMAT,
                f"it has format {checkpoint.format} of {checkpoint.partitions} partitions, "
                f"required is format {self._format_version} of {self._partitions}",
            )
        age = time.time() - checkpoint.at
        if age > MAX_AGE_SECONDS:
            return Rebuild(RebuildReason.TOO_OLD, f"it was last written {age:.0f} s ago")
        self._positions = {
            TopicPartition(topic, partition): position for topic, partition, position in checkpoint.positions
        }
        self._purges = checkpoint.purges
        return None

    def _open_database(self) -> Any:
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_bloom_filter(10, False)
        blocks.set_block_cache(rocksdict.Cache(self._block_cache_bytes))
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(blocks)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        options.set_write_buffer_size(self._write_buffer_bytes)
        options.set_max_background_jobs(2)
        options.set_keep_log_file_num(2)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateStoreUnavailableError(f"the directory {self._path} cannot be created: {error}") from error
        try:
            return rocksdict.Rdict(str(self._path), options)
        except Exception as error:  # rocksdict reports every error as a bare Exception
            # Not just "lock": "block checksum mismatch" contains it.
            if "lock hold by current process" in str(error) or "While lock file" in str(error):
                raise StateStoreLockedError(str(error)) from error
            raise StateStoreCorruptedError(f"opening the database: {error}") from error

    def _scan_rows(self, start: bytes, stop: bytes, size: int) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        # Kept in a name of its own until the loop ends: the iterator reads the bound's memory and does not own it.
        within: Any = rocksdict.ReadOptions()
        # Else the iterator goes on to the first row after `stop`, past all that was deleted before that.
        within.set_iterate_upper_bound(min(stop, _POSITIONS_KEY))
        with self._reading, self._rocksdb_errors() as database:
            for row in database.items(from_key=start, read_opt=within):
                rows.append(row)
                if len(rows) == size:
                    return rows
            _raise_if_damaged(database, rows[-1][0] if rows else start, within)
        return rows

    def _pending_purges(self) -> tuple[KeyRange, ...]:
        with self._purges_lock:
            return (*self._purging, *self._purges)

    def _request_compaction(self) -> None:
        if self._compactor is not None and self._pending_purges():
            self._compactor.request(self)

    def _close_database(self) -> None:
        with self._reading:
            database, self._database = self._database, None
            self._positions = {}
            if database is None:
                return
            cancelled = self._compacting.locked()
            if cancelled:
                database.cancel_all_background(False)  # It flushes first; afterwards `close` reports that it cannot.
            with self._compacting:
                self._purges = self._purging = ()
            try:
                database.close()
            except Exception as error:  # a damaged database reports its damage again; it is closed nevertheless
                log.log(
                    logging.DEBUG if cancelled else logging.WARNING,
                    "closing the local state",
                    extra={"directory": str(self._path), "error": str(error)},
                )

    def _remove_directory(self) -> bool:
        """Remove the directory, unless another process holds it. Returns whether a new database can take its place."""
        if self.rebuild is None or self.rebuild.reason is not RebuildReason.LOCKED or self._temporary:
            shutil.rmtree(self._path, ignore_errors=True)
            return not self._path.exists()
        return True

    def _use_temporary_directory(self) -> None:
        try:
            beside = tempfile.mkdtemp(prefix=f"{self._wanted_path.name}-", dir=self._wanted_path.parent)
        except OSError as error:
            raise StateStoreUnavailableError(
                f"no directory can be created beside {self._wanted_path}: {error}"
            ) from error
        self._path = Path(beside)
        self._temporary = True

    @contextmanager
    def _rocksdb_errors(self) -> Iterator[Any]:
        """The open database; its errors are raised as StateStoreCorruptedError."""
        database = self._database
        if database is None:
            raise StateStoreUnavailableError("the state store is closed")
        try:
            yield database
        except Exception as error:
            if type(error) is not Exception:  # A bug (a key that is no bytes) is no reason to destroy the state.
                raise
            raise StateStoreCorruptedError(f"local state: {error}") from error


def _raise_if_damaged(database: Any, start: bytes, within: Any) -> None:
    """`Rdict.items` ends at a block that cannot be read as it does after the last row; only a cursor has a status."""
    cursor = database.iter(within)
    try:
        cursor.seek(start)
        while cursor.valid():
            cursor.next()
        cursor.status()
    finally:
        del cursor  # The traceback would keep it, and an open cursor keeps the database locked after `close`.


def _without_wal() -> Any:
    options: Any = rocksdict.WriteOptions()
    options.disable_wal = True
    return options


def _beside_others() -> Any:
    options: Any = rocksdict.CompactOptions()
    options.set_exclusive_manual_compaction(False)  # Else RocksDB's own compactions wait, and then the writer does.
    return options
