"""A state store: rows and positions together, and a new, empty one wherever the old one cannot be trusted (R43)."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import rocksdict

from consent_state import (
    Position,
    Rebuild,
    RebuildReason,
    StateStore,
    StateStoreCorruptedError,
    StateStoreUnavailableError,
    TopicPartition,
)
from consent_state import store as store_module
from tests.unit.state.damage import (
    AT,
    BATCHES,
    at,
    fill,
    flip_bit,
    holds_a_prefix,
    left_by_a_killed_process,
    level_0_files,
    opened,
    rows_of,
)


def test_rows_and_positions_outlive_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path / "a" / "0")
    assert store.rebuild is not None
    assert store.rebuild.reason is RebuildReason.ABSENT
    fill(store, range(BATCHES))
    store.close()
    again = opened(tmp_path / "a" / "0")
    assert again.rebuild is None
    assert again.positions == at(BATCHES)
    assert holds_a_prefix(again)
    again.close()


def test_positions_of_other_partitions_keep_their_values(tmp_path: Path) -> None:
    other = TopicPartition("state", 0)
    store = opened(tmp_path / "0")
    store.write(store.batch(), positions={AT: Position("id", 1), other: Position("id2", 5)})
    store.write(store.batch(), positions=at(2))
    store.write(store.batch())
    store.close()
    again = opened(tmp_path / "0")
    assert again.positions == {AT: Position("id", 2), other: Position("id2", 5)}
    again.close()


def test_a_partition_that_is_read_no_more_loses_its_position_together_with_its_rows(tmp_path: Path) -> None:
    other = TopicPartition("state", 0)
    store = opened(tmp_path / "0")
    batch = store.batch()
    batch.put(b"a", b"a")
    store.write(batch, positions={AT: Position("id", 1), other: Position("id2", 5)})
    batch = store.batch()
    batch.delete(b"a")
    store.write(batch, forgotten={other})
    store.close()
    again = opened(tmp_path / "0")
    assert again.positions == at(1)
    assert again.get([b"a"]) == [None]
    again.close()


def test_batch_puts_and_deletes_rows_and_ranges(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    batch = store.batch()
    for key in (b"a", b"b", b"c", b"d"):
        batch.put(key, key)
    batch.delete(b"a")
    batch.delete_range(b"b", b"d")
    assert len(batch) == 6
    store.write(batch)
    assert store.get([b"d", b"a", b"c"]) == [b"d", None, None]
    assert store.get([]) == []
    store.close()


def test_scan_returns_the_rows_between_two_keys_across_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SCAN_ROWS", 3)
    store = opened(tmp_path / "0")
    keys = [b"%02d" % number for number in range(10)]
    batch = store.batch()
    for key in keys:
        batch.put(key, b"")
    store.write(batch, positions=at(1))
    assert [key for key, _ in store.scan(b"", b"\xff\xff\xff")] == keys
    assert [key for key, _ in store.scan(b"02", b"08")] == keys[2:8]
    for limit in (0, 2, 3, 4, 6, 100):
        assert [key for key, _ in store.scan(b"01", b"09", limit)] == keys[1:9][:limit]
    store.close()


@pytest.mark.long
def test_a_scan_does_not_read_past_what_was_deleted_behind_its_end(tmp_path: Path) -> None:
    store = opened(tmp_path / "s")
    batch = store.batch()
    for number in range(50_000):
        batch.put(b"b%05d" % number, b"")
    store.write(batch)
    store.flush()
    batch = store.batch()
    for number in range(49_999):
        batch.delete(b"b%05d" % number)
    store.write(batch)

    def worked(start: bytes, stop: bytes) -> float:
        began = time.thread_time()
        assert len(list(store.scan(start, stop))) == (stop > b"b")
        return time.thread_time() - began

    assert min(worked(b"a", b"b") for _ in range(5)) < min(worked(b"b", b"c") for _ in range(5)) / 5
    store.close()


def test_a_scan_that_is_not_finished_does_not_keep_the_database_locked(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    fill(store, range(BATCHES))
    scan = store.scan(b"", b"\xfe")
    next(scan)
    store.close()
    again = opened(tmp_path / "0")
    assert again.rebuild is None
    again.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"partitions": 8}, RebuildReason.FORMAT), ({}, RebuildReason.TOO_OLD)],
    ids=["another partition count", "too old to have seen every tombstone"],
)
def test_positions_that_cannot_be_trusted_empty_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], reason: RebuildReason
) -> None:
    store = opened(tmp_path / "0")
    fill(store, range(BATCHES))
    store.close()
    if reason is RebuildReason.TOO_OLD:
        monkeypatch.setattr(store_module, "MAX_AGE_SECONDS", -1)
    rebuilds: list[Rebuild] = []
    again = opened(tmp_path / "0", on_rebuild=rebuilds.append, **options)
    assert [rebuild.reason for rebuild in rebuilds] == [reason]
    assert again.rebuild == rebuilds[0]
    assert again.positions == {}
    assert holds_a_prefix(again)
    again.close()


def test_rows_without_positions_are_not_used(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    batch = store.batch()
    batch.put(b"a", b"a")
    store.write(batch)
    store.close()
    again = opened(tmp_path / "0")
    assert again.get([b"a"]) == [None]
    again.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST", ".sst", ".log"])
@pytest.mark.parametrize("damage", ["delete", "truncate", "overwrite"])
def test_damaged_files_never_stop_the_start(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / "0"
    store = opened(path)
    fill(store, range(BATCHES))
    store.close()
    for file in [file for file in path.iterdir() if name in file.name]:
        if damage == "delete":
            file.unlink()
        elif damage == "truncate":
            os.truncate(file, file.stat().st_size // 2)
        else:
            file.write_bytes(b"not what RocksDB wrote")
    again = opened(path)
    assert [child.name for child in tmp_path.iterdir()] == ["0"]
    if name == ".sst":
        assert again.rebuild is not None
        assert again.rebuild.reason is RebuildReason.CORRUPTED
    if not holds_a_prefix(again):
        again.clear(Rebuild(RebuildReason.CORRUPTED, "found while reading"))
    fill(again, range(BATCHES))
    assert holds_a_prefix(again)
    again.close()


@pytest.mark.long
def test_a_flipped_bit_is_found_and_never_read_as_a_row(tmp_path: Path) -> None:
    """Wherever it is: reading reports it, or the store holds exactly what its position names."""
    chance = random.Random(8)
    killed, closed = tmp_path / "killed", tmp_path / "closed"
    left_by_a_killed_process(killed, flushed=BATCHES // 2)
    store = opened(closed)
    fill(store, range(BATCHES))
    store.close()
    for number in range(40):
        path = shutil.copytree(chance.choice([killed, closed]), tmp_path / str(number))
        file = chance.choice(sorted(file for file in path.iterdir() if file.stat().st_size))
        flip_bit(file, chance.randrange(file.stat().st_size))
        again = opened(path)
        holds_a_prefix(again)
        again.destroy()
        assert not path.exists()


def write_until_refused(store: StateStore) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        store.write(store.batch(), positions=at(99))


@pytest.mark.long
def test_damage_that_compaction_meets_at_start_is_cured_by_clear(tmp_path: Path) -> None:
    """`close` raises then, and the directory must be removed all the same."""
    path = tmp_path / "0"
    files = level_0_files(path, 5)
    flip_bit(files[1], 200)
    store = opened(path)
    assert store.rebuild is None
    with pytest.raises(StateStoreCorruptedError, match="checksum mismatch"):
        write_until_refused(store)
    store.clear(Rebuild(RebuildReason.CORRUPTED, "compaction"))
    assert store.positions == {}
    fill(store, range(BATCHES))
    store.close()
    again = opened(path)
    assert again.rebuild is None
    assert holds_a_prefix(again)
    again.close()
    assert [child.name for child in tmp_path.iterdir()] == ["0"]


@pytest.mark.parametrize("end", ["close", "destroy"])
def test_an_error_of_rocksdb_while_closing_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    native: Any = rocksdict.Rdict

    class Broken:
        def __init__(self, path: str, options: rocksdict.Options) -> None:
            self.database = native(path, options)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.database, name)

        def close(self) -> None:
            self.database.close()
            raise Exception("Corruption: block checksum mismatch")  # noqa: TRY002 - as rocksdict raises it

    monkeypatch.setattr(rocksdict, "Rdict", Broken)
    path = tmp_path / "0"
    store = opened(path)
    fill(store, range(BATCHES))
    getattr(store, end)()
    getattr(store, end)()
    assert path.exists() == (end == "close")
    with pytest.raises(StateStoreUnavailableError):
        store.get([b"a"])
    with pytest.raises(StateStoreUnavailableError):
        store.write(store.batch())
    store.clear()
    fill(store, range(BATCHES))
    assert holds_a_prefix(store)
    store.close()


def test_a_scan_reports_a_damaged_block_and_does_not_end_before_it(tmp_path: Path) -> None:
    path = tmp_path / "0"
    store = opened(path)
    fill(store, range(BATCHES))
    store.close()
    [file, *_] = sorted(path.glob("*.sst"))
    flip_bit(file, file.stat().st_size // 3)
    again = opened(path)
    with pytest.raises(StateStoreCorruptedError):
        list(again.scan(b"", b"\xfe"))
    try:
        list(again.scan(b"0", b"\xfe"))
    except StateStoreCorruptedError as error:
        again.clear(Rebuild(RebuildReason.CORRUPTED, str(error)))
    fill(again, range(BATCHES))
    assert holds_a_prefix(again)
    assert [child.name for child in tmp_path.iterdir()] == ["0"]  # not locked by what the traceback refers to
    again.close()


def test_directory_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    first = opened(tmp_path / "0")
    fill(first, range(BATCHES))
    rebuilds: list[Rebuild] = []
    second = opened(tmp_path / "0", on_rebuild=rebuilds.append)
    assert [rebuild.reason for rebuild in rebuilds] == [RebuildReason.LOCKED]
    fill(second, range(3))
    second.clear(Rebuild(RebuildReason.TOPIC_RECREATED, "another topic"))
    fill(second, range(2))
    assert holds_a_prefix(second)
    second.close()
    assert [child.name for child in tmp_path.iterdir()] == ["0"]
    assert holds_a_prefix(first)
    first.close()


@pytest.mark.long
def test_a_crash_loses_what_was_not_flushed_with_its_positions(tmp_path: Path) -> None:
    left_by_a_killed_process(tmp_path / "0", flushed=10)
    store = opened(tmp_path / "0")
    assert store.positions == at(10)
    assert holds_a_prefix(store)
    store.close()


def test_writes_are_flushed_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", -1.0)
    store = opened(tmp_path / "0")
    fill(store, range(1))
    deadline = time.monotonic() + 10
    while not list((tmp_path / "0").glob("*.sst")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store.close()


@pytest.mark.long
def test_a_truncated_manifest_leaves_no_hole_below_the_positions(tmp_path: Path) -> None:
    """It forgets files that were flushed; whatever RocksDB then opens must fit its positions."""
    left_by_a_killed_process(tmp_path / "killed", flushed=20)
    [manifest] = (tmp_path / "killed").glob("MANIFEST-*")
    for size in range(0, manifest.stat().st_size, 16):
        path = shutil.copytree(tmp_path / "killed", tmp_path / str(size))
        os.truncate(path / manifest.name, size)
        store = opened(path)
        assert holds_a_prefix(store)
        store.destroy()


def test_directory_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateStoreUnavailableError):
        opened(tmp_path / "file" / "0")


def test_directory_that_cannot_be_removed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening its remains would bring back rows that the topics no longer hold."""
    store = opened(tmp_path / "0")
    fill(store, range(BATCHES))
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
    with pytest.raises(StateStoreUnavailableError, match="cannot be removed"):
        store.clear(Rebuild(RebuildReason.CORRUPTED, "disk"))
    with pytest.raises(StateStoreUnavailableError):
        store.get([b"a"])


def test_a_wrong_argument_is_no_damage(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    with pytest.raises(KeyError):
        store.get(["text"])  # type: ignore[list-item]
    store.close()


def test_other_threads_may_read_until_the_store_is_closed(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    fill(store, range(BATCHES))
    keys, outcomes = list(rows_of(3)), []

    def read() -> None:
        try:
            while True:
                assert store.get(keys) == list(rows_of(3).values())
                assert len(list(store.scan(b"", b"\xfe"))) == 1_000
        except Exception as error:
            outcomes.append(type(error))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(50):
        fill(store, range(number % BATCHES, number % BATCHES + 1))
    store.close()
    for reader in readers:
        reader.join(10)
    assert outcomes == [StateStoreUnavailableError] * 3
