"""Local state restored from real topics: complete or not used, whatever happened to the disk or to the topics (R43)."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from consent_kafka import clients as kafka_clients
from consent_state import (
    Position,
    Rebuild,
    RebuildReason,
    RestoreFailedError,
    RestoreStoppedError,
    StateStore,
    StateStoreCorruptedError,
    TopicPartition,
    find_misfits,
    high_watermarks,
    last_stable_offsets,
    start_positions,
    topic_ids,
)
from tests.integration.state.table import Table, apply, rows
from tests.support.unpacking_bombs import send_bomb
from tests.support.waiting import until
from tests.unit.state.damage import flip_bit, without_compaction


@pytest.fixture
def table(kafka: str, tmp_path: Path) -> Iterator[Table]:
    made = Table(kafka, tmp_path / "state" / "0")
    yield made
    made.delete(*made.partitions)


def people(first: int, last: int) -> dict[bytes, bytes | None]:
    return {b"k%d" % number: b"value of %d" % number for number in range(first, last)}


def test_store_is_restored_and_reads_on_from_its_positions(table: Table) -> None:
    table.commit(people(0, 10))
    table.commit({b"k3": None})
    table.commit(people(0, 5), table.second)
    store = table.open()
    table.restore(store)
    assert rows(store, table.first) == {key: value for key, value in people(0, 10).items() if key != b"k3"}
    assert rows(store, table.second) == people(0, 5)
    assert {at: position.offset for at, position in store.positions.items()} == high_watermarks(
        table.admin, table.partitions
    )
    store.close()
    table.commit(people(20, 22))
    again = table.open()
    assert again.rebuild is None
    start = table.restore(again)
    assert start.positions[table.first].offset == 13
    assert len(rows(again, table.first)) == 11
    again.close()


def delete(path: Path) -> None:
    shutil.rmtree(path)


def truncate(path: Path) -> None:
    for file in path.iterdir():
        os.truncate(file, file.stat().st_size // 2)


def flip(path: Path) -> None:
    file = sorted(path.glob("*.sst"))[1]
    flip_bit(file, file.stat().st_size // 4)


@pytest.mark.parametrize("damage", [delete, truncate, flip])
def test_damaged_directory_is_restored_from_the_topics(table: Table, damage: Callable[[Path], None]) -> None:
    with without_compaction():
        store = table.open()
    for number in range(5):  # as many files in level 0 make compaction read them at the next start
        table.commit(people(10 * number, 10 * number + 10))
        table.restore(store)
    store.close()
    for options in table.directory.glob("OPTIONS-*"):
        options.unlink()
    damage(table.directory)
    restored = table.open()
    table.commit(people(100, 101))

    def complete() -> bool:
        try:
            table.restore(restored)
            return rows(restored, table.first) == people(0, 50) | people(100, 101)
        except StateStoreCorruptedError as error:
            restored.clear(Rebuild(RebuildReason.CORRUPTED, str(error)))
            return False

    until(complete)
    assert restored.rebuild is not None
    assert restored.rebuild.reason is (RebuildReason.ABSENT if damage is delete else RebuildReason.CORRUPTED)
    restored.close()


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_restore_waits_for_the_end_of_a_foreign_transaction(table: Table, end: str) -> None:
    table.commit(people(0, 3))
    foreign = table.transaction({b"foreign": b"row"})
    table.commit(people(3, 5))  # committed, but not readable before the foreign transaction has ended
    store = table.open()
    thread = threading.Thread(target=table.restore, args=(store,))
    thread.start()
    until(lambda: bool(table.waits))
    assert table.waits[0] == (
        f"waiting for an open transaction on {table.first} (last stable offset 4, high watermark 8)"
    )
    assert thread.is_alive()
    foreign.commit_transaction(20) if end == "commit" else foreign.abort_transaction(20)
    thread.join(30)
    assert not thread.is_alive()
    assert rows(store, table.first) == people(0, 5) | ({b"foreign": b"row"} if end == "commit" else {})
    store.close()


def test_state_above_the_last_stable_offset_is_kept(table: Table) -> None:
    """A merge worker stores what it has committed itself, also after the records of a transaction that is open."""
    table.commit(people(0, 3))
    store = table.open()
    table.restore(store)
    foreign = table.transaction({b"foreign": b"row"})
    table.commit({b"mine": b"row"})
    batch = store.batch()
    batch.put(table.first.topic.encode() + b"\0mine", b"row")
    mine = Position(store.positions[table.first].topic_id, high_watermarks(table.admin, [table.first])[table.first])
    store.write(batch, positions={table.first: mine})
    store.close()
    assert last_stable_offsets(table.admin, [table.first])[table.first] < mine.offset

    again = table.open()
    start = start_positions(again, table.admin, table.partitions)
    assert start.misfits == {}
    assert start.positions[table.first] == mine
    assert rows(again, table.first) == people(0, 3) | {b"mine": b"row"}
    foreign.abort_transaction(20)
    table.restore(again)
    assert rows(again, table.first) == people(0, 3) | {b"mine": b"row"}
    again.close()


def test_aborted_records_at_the_end_do_not_hold_up_a_restore(table: Table) -> None:
    table.commit(people(0, 3))
    table.transaction(people(50, 60)).abort_transaction(20)
    store = table.open()
    table.restore(store)
    assert rows(store, table.first) == people(0, 3)
    assert store.positions[table.first].offset == high_watermarks(table.admin, [table.first])[table.first]
    store.close()


def test_positions_in_a_topic_that_was_recreated_empty_the_store(table: Table) -> None:
    table.commit(people(0, 10))
    table.commit(people(0, 10), table.second)
    store = table.open()
    table.restore(store)
    table.recreate(table.first)
    table.commit(people(30, 50))
    start = table.restore(store)
    assert {at: misfit.reason for at, misfit in start.misfits.items()} == {table.first: RebuildReason.TOPIC_RECREATED}
    assert store.rebuild == start.misfits[table.first]
    assert rows(store, table.first) == people(30, 50)
    assert rows(store, table.second) == people(0, 10)
    store.close()


def test_position_above_the_end_empties_the_store(table: Table) -> None:
    table.commit(people(0, 10))
    store = table.open()
    table.restore(store)
    batch = store.batch()
    batch.put(table.first.topic.encode() + b"\0lost", b"in the topic")
    store.write(batch, positions={table.first: Position(store.positions[table.first].topic_id, 1_000)})
    start = table.restore(store)
    assert start.misfits[table.first].reason is RebuildReason.OUT_OF_RANGE
    assert str(table.first) in start.misfits[table.first].detail
    assert rows(store, table.first) == people(0, 10)
    store.close()


def cut_the_beginning(table: Table, offset: int) -> None:
    topic = table.first.topic
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    resource.add_incremental_config(
        ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    )
    for altered in table.admin.incremental_alter_configs([resource]).values():
        altered.result()
    deadline = time.monotonic() + 30
    while True:
        cut = table.admin.delete_records([confluent_kafka.TopicPartition(topic, 0, offset)])
        try:
            for future in cut.values():
                future.result()
        except confluent_kafka.KafkaException as error:
            # The broker has not heard of the new policy yet.
            if error.args[0].code() != confluent_kafka.KafkaError.POLICY_VIOLATION or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def test_position_below_the_beginning_empties_the_store(table: Table) -> None:
    table.commit(people(0, 3))
    store = table.open()
    table.restore(store)
    table.commit(people(3, 10))
    cut_the_beginning(table, 6)
    assert find_misfits(table.admin, store.positions)[table.first].reason is RebuildReason.OUT_OF_RANGE
    start = table.restore(store)
    assert start.positions[table.first].offset == 6
    assert rows(store, table.first) == people(5, 10)
    store.close()


def test_reader_whose_position_was_deleted_reports_it(table: Table) -> None:
    table.commit(people(0, 3))
    store = table.open()
    start = start_positions(store, table.admin, table.partitions)
    table.commit(people(3, 10))
    cut_the_beginning(table, 6)
    reader = table.reader(start)
    failures: list[str] = []

    def failed() -> bool:
        try:
            reader.poll(0.2)
        except RestoreFailedError as error:
            failures.append(str(error))
        return bool(failures)

    until(failed)
    assert str(table.first) in failures[0]
    reader.close()
    store.close()


def test_reader_follows_its_topics_after_a_restore(table: Table) -> None:
    table.commit(people(0, 3))
    store = table.open()
    reader = table.reader(start_positions(store, table.admin, table.partitions))

    def follow() -> None:
        for batch in reader.poll(0.2):
            writes = store.batch()
            apply(batch, writes)
            store.write(writes, positions={batch.partition: batch.position})

    def at_the_end() -> bool:
        follow()
        return reader.remaining(high_watermarks(table.admin, table.partitions)) == {}

    until(at_the_end)
    for number in range(3, 6):
        table.commit(people(number, number + 1))
        table.commit(people(number, number + 1), table.second)
        until(at_the_end)
    assert rows(store, table.first) == people(0, 6)
    assert rows(store, table.second) == people(3, 6)
    assert store.positions == reader.positions
    reader.close()
    store.close()


def test_restore_that_is_stopped_goes_on_where_it_was(table: Table) -> None:
    table.commit(people(0, 3))
    foreign = table.transaction({b"foreign": b"row"})
    store = table.open()
    outcome: list[Any] = []

    def run() -> None:
        try:
            table.restore(store)
        except RestoreStoppedError as stopped:
            outcome.append(stopped)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: bool(table.waits))
    table.stopping.set()
    thread.join(10)
    assert len(outcome) == 1
    foreign.commit_transaction(20)
    table.stopping.clear()
    assert table.restore(store).positions[table.first].offset == 4
    assert rows(store, table.first) == people(0, 3) | {b"foreign": b"row"}
    store.close()


def test_topic_that_does_not_exist_is_reported(table: Table) -> None:
    with pytest.raises(RestoreFailedError, match="no-such-topic: UNKNOWN_TOPIC_OR_PART"):
        topic_ids(table.admin, ["no-such-topic"])


def test_broker_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    admin = kafka_clients.admin("127.0.0.1:1", {"log_level": 0})
    store = StateStore.open(tmp_path / "0", format_version=1, partitions=1)
    with pytest.raises(RestoreFailedError):
        start_positions(store, admin, [TopicPartition("any", 0)])
    store.close()


def test_a_batch_that_no_client_can_unpack_is_passed_over(table: Table) -> None:  # R43
    table.commit(people(0, 5))
    send_bomb(table.bootstrap, table.first.topic, table.first.partition)
    table.commit(people(5, 10))
    send_bomb(table.bootstrap, table.first.topic, table.first.partition)
    store = table.open()
    table.restore(store)
    assert rows(store, table.first) == people(0, 10)
    store.close()
