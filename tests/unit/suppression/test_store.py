"""The local copy of a partition's entries: kept over restarts, thrown away when it cannot be trusted."""

import os
import time
from pathlib import Path

import pytest

from suppression import store as store_module
from suppression.store import FORMAT, Checkpoint, Position, Store, decode_compact, is_compact, key_prefix
from tests.unit.suppression.test_merge import change

PLACE = ("sms", "k1.a")


def checkpoint(offset: int, *, partitions: int = 4, at: float | None = None) -> Checkpoint:
    return Checkpoint(
        format=FORMAT,
        partitions=partitions,
        at=time.time() if at is None else at,
        positions={"suppression.sms.v1": Position("id", offset)},
    )


def test_entries_and_their_checkpoint_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "acme" / "0"
    entry = change("d1")
    opened = Store.open(path)
    opened.write({PLACE: entry}, checkpoint(7))
    opened.close()

    again = Store.open(path)
    [data] = again.get([PLACE])
    assert data is not None
    assert is_compact(data)
    assert decode_compact(data) == entry
    found = again.checkpoint(partitions=4)
    assert found is not None
    assert found.positions["suppression.sms.v1"].offset == 7
    again.close()


def test_recovered_bytes_are_kept_as_they_came(tmp_path: Path) -> None:
    opened = Store.open(tmp_path / "0")
    bulk = opened.bulk()
    bulk.batch.put(key_prefix("sms") + b"k1.a", b"\0avro")
    bulk.write(checkpoint(1))
    bulk.finish()
    [data, absent] = opened.get([PLACE, ("email", "k1.a")])
    assert data == b"\0avro"
    assert not is_compact(data)
    assert absent is None
    opened.close()


@pytest.mark.parametrize(
    "written",
    [
        checkpoint(1, partitions=8),
        checkpoint(1, at=time.time() - store_module.MAX_AGE_SECONDS - 60),
        Checkpoint(format=FORMAT + 1, partitions=4, at=time.time(), positions={}),
    ],
    ids=["other partition count", "too old to have seen every erasure", "another format"],
)
def test_a_checkpoint_that_cannot_be_trusted_counts_as_none(tmp_path: Path, written: Checkpoint) -> None:
    opened = Store.open(tmp_path / "0")
    opened.write({}, written)
    assert opened.checkpoint(partitions=4) is None
    opened.close()


def test_corrupt_directory_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "0"
    opened = Store.open(path)
    opened.write({PLACE: change("d1")}, checkpoint(7))
    opened.close()
    for name in os.listdir(path):
        if name.startswith(("MANIFEST", "CURRENT")):
            (path / name).write_bytes(b"not what RocksDB wrote")

    again = Store.open(path)
    assert again.checkpoint(partitions=4) is None
    assert again.get([PLACE]) == [None]
    again.close()


def test_directory_held_by_another_process_is_left_to_it(tmp_path: Path) -> None:
    first = Store.open(tmp_path / "0")
    first.write({PLACE: change("d1")}, checkpoint(7))
    second = Store.open(tmp_path / "0")
    assert second.get([PLACE]) == [None]
    second.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0"]
    assert first.get([PLACE]) != [None]
    first.close()


def test_cleared_store_is_empty_and_usable(tmp_path: Path) -> None:
    opened = Store.open(tmp_path / "0")
    opened.write({PLACE: change("d1")}, checkpoint(7))
    opened.clear()
    assert opened.get([PLACE]) == [None]
    assert opened.checkpoint(partitions=4) is None
    opened.write({PLACE: change("d2")}, checkpoint(8))
    assert opened.get([PLACE]) != [None]
    opened.close()
