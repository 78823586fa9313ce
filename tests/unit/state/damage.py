"""Stores with a known content, and the damage that a disk does to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import rocksdict

from consent_state import Position, StateStore, StateStoreCorruptedError, TopicPartition

AT = TopicPartition("list", 0)
BATCHES = 40
ROWS = 25


def opened(path: Path, *, partitions: int = 4, **options: Any) -> StateStore:
    return StateStore.open(path, format_version=1, partitions=partitions, **options)


def at(offset: int) -> dict[TopicPartition, Position]:
    return {AT: Position("id", offset)}


def rows_of(batch: int) -> Mapping[bytes, bytes]:
    """What batch number `batch` writes; its position is `batch + 1`."""
    return {b"%d-%d" % (row, batch): b"value of %d in %d " % (row, batch) * 5 for row in range(ROWS)}


def fill(store: StateStore, batches: range) -> None:
    for number in batches:
        batch = store.batch()
        for key, value in rows_of(number).items():
            batch.put(key, value)
        store.write(batch, positions=at(number + 1))


@contextmanager
def without_compaction() -> Iterator[None]:
    """Stores opened within never compact their files."""
    native: Any = rocksdict.Rdict

    def opened(path: str, options: rocksdict.Options) -> Any:
        options.set_disable_auto_compactions(True)
        return native(path, options)

    with mock.patch.object(rocksdict, "Rdict", opened):
        yield


def level_0_files(path: Path, files: int) -> list[Path]:
    """A closed store of as many files in level 0, which compaction reads as soon as it is opened."""
    with without_compaction():
        store = opened(path)
    for number in range(files):
        fill(store, range(number, number + 1))
        store.flush()
    store.close()
    for options in path.glob("OPTIONS-*"):
        options.unlink()  # rocksdict would take the setting above from it
    return sorted(path.glob("*.sst"))


def left_by_a_killed_process(path: Path, *, flushed: int) -> None:
    """A store of which `flushed` batches were flushed in two parts, and the rest not before the kill."""
    subprocess.run([sys.executable, __file__, str(path), str(flushed)], check=False)
    assert (path / "CURRENT").exists()


def flip_bit(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def flip_tables(path: Path) -> None:
    """Flip one bit in the data of each of the directory's tables."""
    for file in path.glob("*.sst"):
        flip_bit(file, file.stat().st_size // 4)


def holds_a_prefix(store: StateStore) -> bool:
    """Whether the store holds exactly what its position names; False when it reports damage. Asserts on wrong rows."""
    known = store.positions[AT].offset if store.positions else 0
    try:
        for number in range(BATCHES):
            rows = rows_of(number)
            expected = list(rows.values()) if number < known else [None] * ROWS
            assert store.get(list(rows)) == expected
        scanned = dict(store.scan(b"", b"\xfe"))
    except StateStoreCorruptedError:
        return False
    assert scanned == {key: value for number in range(known) for key, value in rows_of(number).items()}
    return True


def _be_killed(path: Path, flushed: int) -> None:
    store = opened(path)
    fill(store, range(flushed // 2))
    store.flush()
    fill(store, range(flushed // 2, flushed))
    store.flush()
    fill(store, range(flushed, BATCHES))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _be_killed(Path(sys.argv[1]), int(sys.argv[2]))
