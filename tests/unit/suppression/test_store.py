"""A partition's entries in its state store: their forms, their expiry times, and the positions beside them."""

from pathlib import Path

from consent_state import Position, TopicPartition
from suppression.partition.store import EntryStore, decode_compact, is_compact, key_prefix, put_row
from tests.unit.suppression.test_merge import change

KEY = ("sms", "k1.a")
AT = TopicPartition("suppression.sms.v1", 0)


def positions(offset: int) -> dict[TopicPartition, Position]:
    return {AT: Position("id", offset)}


def opened(path: Path, *, partitions: int = 4) -> EntryStore:
    return EntryStore.open(path, partitions=partitions)


def restore(store: EntryStore, *rows: tuple[bytes, bytes, int | None]) -> None:
    batch = store.state.batch()
    for row in rows:
        put_row(batch, *row)
    store.state.write(batch, positions=positions(1))


def test_entries_and_their_positions_outlive_a_restart(tmp_path: Path) -> None:
    entry = change("d1")
    store = opened(tmp_path / "acme" / "0")
    store.write({KEY: entry}, positions(7))
    store.state.close()

    again = opened(tmp_path / "acme" / "0")
    [stored] = again.get([KEY])
    assert stored is not None
    assert is_compact(stored.data)
    assert decode_compact(stored.data) == entry
    assert again.state.positions == positions(7)
    again.state.close()


def test_restored_bytes_are_stored_unchanged(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    restore(store, (key_prefix("sms") + b"k1.a", b"\0avro", None))
    [stored, absent] = store.get([KEY, ("email", "k1.a")])
    assert stored is not None
    assert (stored.data, stored.due) == (b"\0avro", None)
    assert not is_compact(stored.data)
    assert absent is None
    store.state.close()


def test_state_of_another_partition_count_is_not_used(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    store.write({KEY: change("d1")}, positions(7))
    store.state.close()
    again = opened(tmp_path / "0", partitions=8)
    assert again.get([KEY]) == [None]
    assert again.state.positions == {}
    again.state.close()


def test_expiry_times_lead_to_the_entries_that_expire(tmp_path: Path) -> None:  # R37
    store = opened(tmp_path / "0")
    other = ("email", "k1.b")
    store.write({KEY: change("d1"), other: change("d2")}, positions(7), due={KEY: 50, other: 40})
    assert store.expiring_before(39, 10) == []
    assert store.expiring_before(50, 10) == [(40, other), (50, KEY)]
    assert store.expiring_before(50, 1) == [(40, other)]
    [stored] = store.get([KEY])
    assert stored is not None
    assert (decode_compact(stored.data), stored.due) == (change("d1"), 50)
    store.write({KEY: change("d3")}, positions(8), due={KEY: 70}, was_due={KEY: 50})
    store.write({other: change("d3")}, positions(9), was_due={other: 40})
    assert store.expiring_before(100, 10) == [(70, KEY)]
    assert sorted(store) == [b"email\0k1.b", b"sms\0k1.a"]
    store.state.close()


def test_restored_entries_expire_too_and_an_overwritten_one_leaves_a_stale_index_row(tmp_path: Path) -> None:
    store = opened(tmp_path / "0")
    row = key_prefix("sms") + b"k1.a"
    restore(store, (row, b"\0avro", 50), (row, b"\0later", 60))
    assert store.get([KEY]) == [(b"\0later", 60)]
    assert store.expiring_before(100, 10) == [(50, KEY), (60, KEY)]
    store.remove_expiry([(50, KEY)])
    assert store.expiring_before(100, 10) == [(60, KEY)]
    store.state.close()
