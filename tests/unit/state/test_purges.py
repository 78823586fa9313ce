"""What an erasure has replaced leaves the files of a state store, and costs little (R33)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_state import Compactor, Rebuild, RebuildReason, StateStore
from consent_state.key_ranges import MOST_RANGES, KeyRange, joined
from tests.support.waiting import until
from tests.unit.state.damage import at, opened

SECRET = b"sealed: 7d1f0c5a9e3b48268f41"
ERASED = b"an objection alone"
keys = st.binary(min_size=1, max_size=3)


def ranges(found: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[KeyRange]]:
    return st.lists(found.map(lambda key: (key, key + b"\0")), max_size=3 * MOST_RANGES)


@given(ranges(keys), ranges(keys))
def test_every_key_remains_in_a_range_and_the_ranges_remain_few(some: list[KeyRange], more: list[KeyRange]) -> None:
    found = joined(joined((), some), more)
    assert len(found) <= MOST_RANGES
    for first, last in (*some, *more):
        assert any(start <= first and last <= stop for start, stop in found)
    assert all(start in {first for first, _ in (*some, *more)} for start, _ in found)


def with_a_secret(path: Path, *, key: bytes = b"k", compactor: Compactor | None = None) -> StateStore:
    """A store with the secret in its lowest level, among other rows."""
    store = opened(path, compactor=compactor)
    for number in range(3):
        batch = store.batch()
        for other in range(500):
            batch.put(b"%d-%d" % (other, number), b"value %d" % other)
        if number == 0:
            batch.put(key, SECRET)
        store.write(batch, positions=at(number + 1))
        store.flush()
    batch = store.batch()
    batch.purge_range(b"0", b"z")
    store.write(batch, positions=at(4))
    assert store.compact() == 1
    assert holds(path, SECRET)
    return store


def erase(store: StateStore, *, key: bytes = b"k", delete: bool = False) -> None:
    batch = store.batch()
    if delete:
        batch.delete(key)
    else:
        batch.put(key, ERASED)
    batch.purge(key)
    store.write(batch, positions=at(9))


def holds(path: Path, secret: bytes) -> bool:
    """Whether any file of the directory does."""
    return any(secret in file.read_bytes() for file in path.rglob("*") if file.is_file())


def until_gone(path: Path) -> None:
    until(lambda: not holds(path, SECRET), what="the files do not hold it any more")


@pytest.mark.parametrize("delete", [False, True])
def test_what_is_purged_leaves_the_files(tmp_path: Path, delete: bool) -> None:
    store = with_a_secret(tmp_path / "0")
    erase(store, delete=delete)
    store.flush()
    assert holds(tmp_path / "0", SECRET), "RocksDB keeps what was replaced: else nothing is tested"
    assert store.compact() == 1
    until_gone(tmp_path / "0")
    assert store.get([b"k", b"7-1"]) == [None if delete else ERASED, b"value 7"]
    assert store.compact() == 0
    store.close()


def test_a_replaced_value_that_is_in_no_file_yet_gets_into_none(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    batch = store.batch()
    batch.put(b"k", SECRET)
    store.write(batch, positions=at(1))
    erase(store)
    store.compact()
    store.close()
    assert not holds(tmp_path / "0", SECRET)


def test_what_was_not_compacted_before_a_restart_is_compacted_after_it(tmp_path: Path) -> None:
    store = with_a_secret(tmp_path / "0")
    erase(store)
    store.write(store.batch(), positions=at(10))
    store.close()
    assert holds(tmp_path / "0", SECRET)
    again = opened(tmp_path / "0")
    assert again.compact() == 1
    until_gone(tmp_path / "0")
    again.close()


def test_once_compacted_it_is_not_compacted_again_after_a_restart(tmp_path: Path) -> None:
    store = with_a_secret(tmp_path / "0")
    erase(store)
    store.compact()
    store.write(store.batch(), positions=at(10))
    store.close()
    again = opened(tmp_path / "0")
    assert again.compact() == 0
    again.close()


def test_an_empty_store_has_nothing_to_compact(tmp_path: Path) -> None:
    store = with_a_secret(tmp_path / "0")
    erase(store)
    store.clear(Rebuild(RebuildReason.CORRUPTED, "a test"))
    assert store.compact() == 0
    assert not holds(tmp_path / "0", SECRET)
    store.close()
    assert store.compact() == 0


def test_a_thread_of_its_own_compacts_what_is_requested(tmp_path: Path) -> None:
    compactor = Compactor(delay_seconds=0)
    stores = [with_a_secret(tmp_path / name, compactor=compactor) for name in ("0", "1")]
    compactor.start()
    for store in stores:
        erase(store)
    for name in ("0", "1"):
        until_gone(tmp_path / name)
    for store in stores:
        store.close()
    compactor.close()


def test_a_store_that_is_opened_requests_what_is_left(tmp_path: Path) -> None:
    store = with_a_secret(tmp_path / "0")
    erase(store)
    store.close()
    compactor = Compactor(delay_seconds=0)
    compactor.start()
    again = opened(tmp_path / "0", compactor=compactor)
    until_gone(tmp_path / "0")
    again.close()
    compactor.close()


def test_erasures_that_come_together_share_one_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="consent_state.compactor")
    compactor = Compactor(delay_seconds=0.5)
    store = with_a_secret(tmp_path / "0", compactor=compactor)
    for number in range(3):
        erase(store, key=b"%d" % number)
    compactor.start()
    erase(store)
    until(lambda: caplog.records, what="the turn has ended")
    [turn] = caplog.records
    assert turn.__dict__["ranges"] == 4
    store.close()
    compactor.close()


def test_closing_does_not_wait_for_a_compaction_and_leaves_it_for_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "0"
    store = with_a_secret(path)
    for number in range(40):  # Some 40 MB: seconds of compaction.
        batch = store.batch()
        for row in range(1_000):
            batch.put(b"m%05d" % (row * 40 + number), number.to_bytes(2, "big") * 500)
        store.write(batch, positions=at(10 + number))
    erase(store)
    batch = store.batch()
    batch.purge_range(b"", b"\xfe")
    store.write(batch, positions=at(60))
    compacted: list[int] = []
    compacting = threading.Thread(target=lambda: compacted.append(store.compact()))
    compacting.start()
    store.close()
    compacting.join(30)
    assert not compacting.is_alive()
    again = opened(path)
    assert again.rebuild is None
    assert again.positions == at(60)
    assert (compacted, again.compact() > 0) in (([0], True), ([2], True))
    until_gone(path)
    again.close()
