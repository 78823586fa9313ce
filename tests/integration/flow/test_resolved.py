"""Resolved timestamps of the ledger, on a real PostgreSQL and a real Kafka. # R43

What every ConsentResolved promises: each row that was committed before its time lies below it in its partition.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from confluent_kafka.admin import AdminClient
from sqlalchemy import Connection

from consent_api.ledger.database import connect
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.turns import TurnTable
from consent_contracts.partitioner import partition_of
from consent_runtime import provision
from tests.integration.flow.house import FILLED, House, Running, filling, refusal, until

PARTITIONS = range(4)


def now(house: House) -> int:
    """The database's clock, microseconds."""
    return int(house.ask("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint"))


def resolved_at(house: House, lane: Lane = Lane.LIVE) -> int:
    """The lowest resolved timestamp of all partitions that the topic holds; 0 before each has one."""
    newest = dict.fromkeys(PARTITIONS, 0)
    for partition, _, datum in house.resolved(lane):
        newest[partition] = max(newest[partition], datum["resolved_at"])
    return min(newest.values())


def filled(house: House, count: int, *, first: int = 1, lane: Lane = Lane.LIVE) -> dict[bytes, int]:
    """Rows, and when their commit was acknowledged at the latest."""
    keys = house.fill(count, first=first, lane=lane)
    return dict.fromkeys(keys, now(house))


def assert_truthful(house: House, acknowledged: Mapping[bytes, int], lane: Lane = Lane.LIVE) -> None:
    """`acknowledged`: by key, the database's time after the commit of its row."""
    first_offset: dict[bytes, tuple[int, int]] = {}
    for record in house.changes(lane):
        first_offset.setdefault(record.key(), (record.partition(), record.offset()))
    assert first_offset.keys() == acknowledged.keys()
    for partition, offset, datum in house.resolved(lane):
        for key, at in acknowledged.items():
            if partition_of(key, 4) == partition and at < datum["resolved_at"]:
                assert first_offset[key][1] < offset, f"{key!r} was committed before {datum} and lies above it"


def turns(relay: Running, outcome: str, lane: str = "live") -> float:
    return relay.metric("consent_relay_resolved_turns_total", lane=lane, outcome=outcome)


def turn_table() -> TurnTable:
    return TurnTable(lane=Lane.LIVE, relay="test", inbound_topic="none")


@contextmanager
def autocommit(house: House) -> Iterator[Connection]:
    engine = connect(house.database, pool_size=1, application="test")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("lane", list(Lane))
def test_an_idle_lane_states_its_progress_each_second_in_every_partition(house: House, lane: Lane) -> None:
    with house.relay() as relay:
        began = now(house)
        until(lambda: resolved_at(house, lane) > began, seconds=10)
        before = resolved_at(house, lane)
        until(lambda: resolved_at(house, lane) > before + 2_000_000, seconds=10)
        until(lambda: relay.health.check() == (True, []))
        assert relay.metric("consent_relay_resolved_age_seconds", lane=lane.value) < 5
    found = house.resolved(lane)
    for partition in PARTITIONS:
        times = [datum["resolved_at"] for number, _, datum in found if number == partition]
        assert times == sorted(times)
    assert {datum["loss"] for _, _, datum in found} == {0}
    assert {datum["inbound_resolved_at"] for _, _, datum in found} == {None}, "no ingest is configured"


def test_rows_lie_below_the_timestamps_that_cover_them(house: House) -> None:
    acknowledged: dict[bytes, int] = {}
    with house.relay(relay_batch=100):
        for number in range(20):
            acknowledged |= filled(house, 100, first=1 + number * 100)
        last = now(house)
        until(lambda: resolved_at(house) > last)
    assert_truthful(house, acknowledged)


def test_a_row_that_is_written_and_not_committed_holds_the_timestamp_back(house: House) -> None:
    with house.relay(), house.owner.execution_options(isolation_level="READ COMMITTED").connect() as slow:
        until(lambda: resolved_at(house) > 0)
        slow.execute(FILLED[Lane.LIVE], filling(house.topics.changes, 1, 1))
        written = now(house)
        others = filled(house, 100, first=2)
        time.sleep(2.5)  # Several turns, each of which waits for the transaction.
        assert resolved_at(house) <= written
        slow.commit()
        committed = now(house)
        until(lambda: resolved_at(house) > committed)
    assert_truthful(house, {**others, b"k1": committed})


def test_a_commit_between_the_clock_and_the_snapshot_is_part_of_the_point(house: House) -> None:
    # The clock is read first, so the row may be newer than the point's time; the reverse would miss rows.
    table = turn_table()
    with (
        autocommit(house) as connection,
        house.owner.execution_options(isolation_level="READ COMMITTED").connect() as writer,
    ):
        assert table.take(connection) == 1
        at, inbound = table.clock(connection)
        assert inbound is None
        writer.execute(FILLED[Lane.LIVE], filling(house.topics.changes, 1, 1))
        writers = table.writers(connection)
        assert len(writers) == 1
        assert table.highest_id(connection) == 0
        writer.commit()
        assert table.writers(connection) == frozenset()
        assert table.highest_id(connection) == house.ask("SELECT max(outbox_id) FROM outbox")
        assert at < now(house)


def test_who_only_reads_or_claims_rows_is_no_writer(house: House) -> None:
    house.fill(1)
    with (
        autocommit(house) as connection,
        house.owner.execution_options(isolation_level="READ COMMITTED").connect() as reader,
    ):
        reader.exec_driver_sql("SELECT * FROM outbox FOR UPDATE")
        reader.exec_driver_sql("INSERT INTO relay_turns VALUES ('bulk', 0, 0, '')")
        assert turn_table().writers(connection) == frozenset()


def test_locked_rows_count_as_pending(house: House) -> None:
    # An empty claim proves nothing: another relay may hold the rows.
    with house.owner.execution_options(isolation_level="READ COMMITTED").connect() as other:
        acknowledged = filled(house, 1)
        other.exec_driver_sql("SELECT * FROM outbox FOR UPDATE")
        with house.relay():
            until(lambda: house.ask("SELECT count(*) FROM relay_turn_points WHERE lane = 'live'") >= 2)
            until(lambda: len({partition for partition, _, _ in house.resolved()}) == 3)
            held = partition_of(b"k1", 4)
            assert held not in {partition for partition, _, _ in house.resolved()}
            other.rollback()
            until(lambda: resolved_at(house) > acknowledged[b"k1"])
    assert_truthful(house, acknowledged)


def test_a_long_bulk_transaction_holds_back_its_own_lane_only(house: House) -> None:
    with house.relay() as relay, house.owner.execution_options(isolation_level="READ COMMITTED").connect() as slow:
        until(lambda: min(resolved_at(house, lane) for lane in Lane) > 0)
        slow.execute(FILLED[Lane.BULK], filling(house.topics.changes_bulk, 1, 1))
        written = now(house)
        until(lambda: resolved_at(house, Lane.LIVE) > written + 3_000_000)
        assert resolved_at(house, Lane.BULK) <= written
        kept = turns(relay, "kept", "bulk")
        slow.commit()
        # Turns overlap: those that waited are all kept now.
        until(lambda: turns(relay, "kept", "bulk") >= kept + 3, seconds=2)
        until(lambda: resolved_at(house, Lane.BULK) > written)


def test_relays_share_the_turns(house: House) -> None:
    acknowledged: dict[bytes, int] = {}
    began = time.monotonic()
    with house.relay(), house.relay():
        for number in range(10):
            acknowledged |= filled(house, 200, first=1 + number * 200)
            time.sleep(0.2)
        last = now(house)
        until(lambda: resolved_at(house) > last)
        taken = house.ask("SELECT turn FROM relay_turns WHERE lane = 'live'")
        assert taken <= time.monotonic() - began + 2
    assert_truthful(house, acknowledged)


def test_a_frozen_relay_keeps_no_turn_and_deceives_no_reader_when_it_resumes(house: House) -> None:
    frozen = house.command("relay")
    until(lambda: resolved_at(house) > 0, seconds=40)
    frozen.send_signal(signal.SIGSTOP)
    try:
        with house.relay():
            acknowledged = filled(house, 500)
            last = now(house)
            until(lambda: resolved_at(house) > last, seconds=40)
            frozen.send_signal(signal.SIGCONT)
            acknowledged |= filled(house, 500, first=501)
            last = now(house)
            until(lambda: resolved_at(house) > last)
            until(lambda: house.pending() == 0)
    finally:
        frozen.kill()
        frozen.communicate()
    assert_truthful(house, acknowledged)


def test_a_turn_that_loses_its_connection_is_thrown_away(house: House) -> None:
    with house.relay() as relay, house.owner.execution_options(isolation_level="READ COMMITTED").connect() as slow:
        until(lambda: resolved_at(house) > 0)
        slow.execute(FILLED[Lane.LIVE], filling(house.topics.changes, 1, 1))
        written = now(house)
        time.sleep(1.5)  # A turn waits for the transaction.
        cut = now(house)
        until(lambda: house.cut_connections() >= 1)
        until(lambda: turns(relay, "lost") >= 1)
        slow.commit()
        committed = now(house)
        until(lambda: resolved_at(house) > committed)
        between = "SELECT count(*) FROM relay_turn_points WHERE lane = 'live' AND resolved_at BETWEEN :written AND :cut"
        assert house.ask(between, written=written, cut=cut) == 0
    assert_truthful(house, {b"k1": committed})


def losses(house: House, lane: Lane = Lane.LIVE) -> dict[int, int]:
    """By partition, the loss number of the newest record."""
    return {partition: datum["loss"] for partition, _, datum in house.resolved(lane)}


def recreate(house: House, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": house.kafka})
    admin.delete_topics([topic])[topic].result()

    def gone() -> bool:
        return topic not in admin.list_topics(timeout=5).topics

    until(gone)
    provision.apply(bootstrap=house.kafka, registry=house.registry, topics=house.topics)


def test_a_topic_that_was_made_anew_counts_as_one_loss_in_each_partition(house: House) -> None:
    with house.relay():
        house.fill(400)
        until(lambda: house.pending() == 0 and resolved_at(house) > 0)
    assert set(losses(house).values()) == {0}
    recreate(house, house.topics.changes)
    with house.relay() as relay:
        until(lambda: losses(house) == dict.fromkeys(PARTITIONS, 1))
        last = now(house)
        until(lambda: resolved_at(house) > last + 2_000_000)
        assert relay.metric("consent_relay_changes_losses_total", lane="bulk") == 0
    assert losses(house) == dict.fromkeys(PARTITIONS, 1)
    assert set(losses(house, Lane.BULK).values()) == {0}


def test_a_partition_that_ends_lower_than_its_last_record_counts_as_a_loss(house: House) -> None:
    # What a broker that was restored from a copy looks like: the same topic, and lower offsets.
    with house.relay():
        until(lambda: resolved_at(house) > 0)
    with house.owner.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE relay_partitions SET last_offset = 100000 WHERE lane = 'live' AND partition = 2"
        )
    with house.relay() as relay:
        until(lambda: losses(house)[2] == 1)
        last = now(house)
        until(lambda: resolved_at(house) > last + 1_000_000)
        assert relay.metric("consent_relay_changes_losses_total", lane="live") == 1
    assert losses(house) == {0: 0, 1: 0, 2: 1, 3: 0}


def test_what_ingest_has_recorded_is_stated_beside_it(house: House) -> None:
    house.submit(house.encoded([refusal() for _ in range(20)]))
    with house.relay(), house.ingest():

        def inbound(lane: Lane) -> int:
            found = [datum["inbound_resolved_at"] for _, _, datum in house.resolved(lane)]
            return max((each for each in found if each is not None), default=0)

        until(lambda: house.ask("SELECT count(*) FROM decisions") == 20)
        for lane in Lane:
            last = now(house)
            until(lambda: inbound(lane) > last)  # noqa: B023 - used at once
            assert inbound(lane) <= now(house)


def test_an_ingest_that_was_stopped_ages(house: House) -> None:
    with house.ingest():
        until(lambda: house.ask("SELECT min(resolved_at) FROM ingest_positions") > 0)
    stopped = now(house)
    with house.relay():
        until(lambda: resolved_at(house) > stopped + 1_000_000)
        assert all(datum["inbound_resolved_at"] < stopped for _, _, datum in house.resolved())
