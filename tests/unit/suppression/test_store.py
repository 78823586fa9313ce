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
    [held] = again.get([PLACE])
    assert held is not None
    assert is_compact(held.data)
    assert decode_compact(held.data) == entry
    found = again.checkpoint(partitions=4)
    assert found is not None
    assert found.positions["suppression.sms.v1"].offset == 7
    again.close()


def test_recovered_bytes_are_kept_as_they_came(tmp_path: Path) -> None:
    opened = Store.open(tmp_path / "0")
    bulk = opened.bulk()
    bulk.put(key_prefix("sms") + b"k1.a", b"\0avro", None)
    bulk.write(checkpoint(1))
    bulk.finish()
    [held, absent] = opened.get([PLACE, ("email", "k1.a")])
    assert held is not None
    assert (held.data, held.due) == (b"\0avro", None)
    assert not is_compact(held.data)
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


def test_dates_lead_to_the_entries_that_are_due(tmp_path: Path) -> None:  # R37
    opened = Store.open(tmp_path / "0")
    other = ("email", "k1.b")
    opened.write({PLACE: change("d1"), other: change("d2")}, checkpoint(7), due={PLACE: 50, other: 40})
    assert opened.due(39, 10) == []
    assert opened.due(50, 10) == [(40, other), (50, PLACE)]
    assert opened.due(50, 1) == [(40, other)]
    [held] = opened.get([PLACE])
    assert held is not None
    assert (decode_compact(held.data), held.due) == (change("d1"), 50)
    opened.write({PLACE: change("d3")}, checkpoint(8), due={PLACE: 70}, was_due={PLACE: 50})
    opened.write({other: change("d3")}, checkpoint(9), was_due={other: 40})
    assert opened.due(100, 10) == [(70, PLACE)]
    assert len(list(opened)) == 2
    opened.close()


def test_recovered_entries_are_due_too_and_an_overwritten_one_leaves_a_date_that_is_none(tmp_path: Path) -> None:
    opened = Store.open(tmp_path / "0")
    bulk = opened.bulk()
    bulk.put(key_prefix("sms") + b"k1.a", b"\0avro", 50)
    bulk.put(key_prefix("sms") + b"k1.a", b"\0later", 60)
    bulk.write(checkpoint(1))
    bulk.finish()
    assert opened.get([PLACE]) == [(b"\0later", 60)]
    assert opened.due(100, 10) == [(50, PLACE), (60, PLACE)]
    opened.forget([(50, PLACE)])
    assert opened.due(100, 10) == [(60, PLACE)]
    opened.close()
