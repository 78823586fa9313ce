"""Resolved timestamps of the ledger, on a real PostgreSQL and a real Kafka. # R43

What every ConsentResolved promises: each row that was committed before its time lies below it in its partition.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection

from consent_api.ledger.database import connect
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.turns import TurnTable
from consent_contracts.partitioner import partition_of
from tests.integration.flow.rig import FILLED, Rig, Running, filling, refusal
from tests.support.waiting import until

PARTITIONS = range(4)
LIVE_TURN = "SELECT turn FROM relay_turns WHERE lane = 'live'"


def now(rig: Rig) -> int:
    """The database's clock, microseconds."""
    return int(rig.ask("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint"))


def resolved_at(rig: Rig, lane: Lane = Lane.LIVE) -> int:
    """The lowest resolved timestamp of all partitions that the topic holds; 0 before each has one."""
    newest = dict.fromkeys(PARTITIONS, 0)
    for partition, _, datum in rig.resolved(lane):
        newest[partition] = max(newest[partition], datum["resolved_at"])
    return min(newest.values())


def filled(rig: Rig, count: int, *, first: int = 1, lane: Lane = Lane.LIVE) -> dict[bytes, int]:
    """Rows, and when their commit was acknowledged at the latest."""
    keys = rig.fill(count, first=first, lane=lane)
    return dict.fromkeys(keys, now(rig))


def assert_truthful(rig: Rig, acknowledged: Mapping[bytes, int], lane: Lane = Lane.LIVE) -> None:
    """`acknowledged`: by key, the database's time after the commit of its row."""
    first_offset: dict[bytes, tuple[int, int]] = {}
    for record in rig.changes(lane):
        first_offset.setdefault(record.key(), (record.partition(), record.offset()))
    assert first_offset.keys() == acknowledged.keys()
    for partition, offset, datum in rig.resolved(lane):
        for key, at in acknowledged.items():
            if partition_of(key, 4) == partition and at < datum["resolved_at"]:
                assert first_offset[key][1] < offset, f"{key!r} was committed before {datum} and lies above it"


def turns(relay: Running, outcome: str, lane: str = "live") -> float:
    return relay.metric("consent_relay_resolved_turns_total", lane=lane, outcome=outcome)


def turn_table() -> TurnTable:
    return TurnTable(lane=Lane.LIVE, relay="test", inbound_topic="none")


@contextmanager
def autocommit(rig: Rig) -> Iterator[Connection]:
    engine = connect(rig.database, pool_size=1, application="test")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("lane", list(Lane))
def test_an_idle_lane_states_its_progress_each_second_in_every_partition(rig: Rig, lane: Lane) -> None:
    with rig.relay() as relay:
        began = now(rig)
        until(lambda: resolved_at(rig, lane) > began, seconds=10)
        before = resolved_at(rig, lane)
        until(lambda: resolved_at(rig, lane) > before + 2_000_000, seconds=10)
        until(lambda: relay.health.readiness() == (True, []))
        assert relay.metric("consent_relay_resolved_age_seconds", lane=lane.value) < 5
    found = rig.resolved(lane)
    for partition in PARTITIONS:
        times = [datum["resolved_at"] for number, _, datum in found if number == partition]
        assert times == sorted(times)
    assert {datum["loss"] for _, _, datum in found} == {0}
    assert {datum["inbound_resolved_at"] for _, _, datum in found} == {None}, "no ingest is configured"


def test_rows_lie_below_the_timestamps_that_cover_them(rig: Rig) -> None:
    acknowledged: dict[bytes, int] = {}
    with rig.relay(relay_batch=100):
        for number in range(20):
            acknowledged |= filled(rig, 100, first=1 + number * 100)
        last = now(rig)
        until(lambda: resolved_at(rig) > last)
    assert_truthful(rig, acknowledged)


def test_a_row_that_is_written_and_not_committed_holds_the_timestamp_back(rig: Rig) -> None:
    with rig.relay(), rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as slow:
        until(lambda: resolved_at(rig) > 0)
        slow.execute(FILLED[Lane.LIVE], filling(rig.topics.changes, 1, 1))
        written = now(rig)
        others = filled(rig, 100, first=2)
        time.sleep(2.5)  # Several turns, each of which waits for the transaction.
        assert resolved_at(rig) <= written
        slow.commit()
        committed = now(rig)
        until(lambda: resolved_at(rig) > committed)
    assert_truthful(rig, {**others, b"k1": committed})


def test_a_commit_between_the_clock_and_the_snapshot_is_part_of_the_point(rig: Rig) -> None:
    # The clock is read first, so the row may be newer than the point's time; the reverse would miss rows.
    table = turn_table()
    with (
        autocommit(rig) as connection,
        rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as writer,
    ):
        assert table.take(connection) == 1
        at, inbound = table.clock(connection)
        assert inbound is None
        writer.execute(FILLED[Lane.LIVE], filling(rig.topics.changes, 1, 1))
        writers = table.writers(connection)
        assert len(writers) == 1
        assert table.highest_id(connection) == 0
        writer.commit()
        assert table.writers(connection) == frozenset()
        assert table.highest_id(connection) == rig.ask("SELECT max(outbox_id) FROM outbox")
        assert at < now(rig)


def test_who_only_reads_or_claims_rows_is_no_writer(rig: Rig) -> None:
    rig.fill(1)
    with (
        autocommit(rig) as connection,
        rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as reader,
    ):
        reader.exec_driver_sql("SELECT * FROM outbox FOR UPDATE")
        reader.exec_driver_sql("INSERT INTO relay_turns VALUES ('bulk', 0, 0, '')")
        assert turn_table().writers(connection) == frozenset()


def test_locked_rows_count_as_pending(rig: Rig) -> None:
    # An empty claim proves nothing: another relay may hold the rows.
    with rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as other:
        acknowledged = filled(rig, 1)
        other.exec_driver_sql("SELECT * FROM outbox FOR UPDATE")
        with rig.relay():
            until(lambda: rig.ask("SELECT count(*) FROM relay_turn_points WHERE lane = 'live'") >= 2)
            until(lambda: len({partition for partition, _, _ in rig.resolved()}) == 3)
            held = partition_of(b"k1", 4)
            assert held not in {partition for partition, _, _ in rig.resolved()}
            other.rollback()
            until(lambda: resolved_at(rig) > acknowledged[b"k1"])
    assert_truthful(rig, acknowledged)


def test_a_long_bulk_transaction_holds_back_its_own_lane_only(rig: Rig) -> None:
    with rig.relay() as relay, rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as slow:
        until(lambda: min(resolved_at(rig, lane) for lane in Lane) > 0)
        slow.execute(FILLED[Lane.BULK], filling(rig.topics.changes_bulk, 1, 1))
        written = now(rig)
        until(lambda: resolved_at(rig, Lane.LIVE) > written + 3_000_000)
        assert resolved_at(rig, Lane.BULK) <= written
        kept = turns(relay, "kept", "bulk")
        slow.commit()
        # Turns overlap: those that waited are all kept now.
        until(lambda: turns(relay, "kept", "bulk") >= kept + 3, seconds=2)
        until(lambda: resolved_at(rig, Lane.BULK) > written)


def test_relays_share_the_turns(rig: Rig) -> None:
    acknowledged: dict[bytes, int] = {}
    began = time.monotonic()
    with rig.relay(), rig.relay():
        for number in range(10):
            acknowledged |= filled(rig, 200, first=1 + number * 200)
            time.sleep(0.2)
        last = now(rig)
        until(lambda: resolved_at(rig) > last)
        taken = rig.ask(LIVE_TURN)
        assert taken <= time.monotonic() - began + 2
    assert_truthful(rig, acknowledged)


def test_a_frozen_relay_keeps_no_turn_and_deceives_no_reader_when_it_resumes(rig: Rig) -> None:
    frozen = rig.command("relay")
    until(lambda: resolved_at(rig) > 0, seconds=40)
    frozen.send_signal(signal.SIGSTOP)
    try:
        with rig.relay():
            acknowledged = filled(rig, 500)
            last = now(rig)
            until(lambda: resolved_at(rig) > last, seconds=40)
            frozen.send_signal(signal.SIGCONT)
            acknowledged |= filled(rig, 500, first=501)
            last = now(rig)
            until(lambda: resolved_at(rig) > last)
            until(lambda: rig.pending() == 0)
    finally:
        frozen.kill()
        frozen.communicate()
    assert_truthful(rig, acknowledged)


def test_a_turn_that_loses_its_connection_is_discarded(rig: Rig) -> None:
    with rig.relay() as relay, rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as slow:
        until(lambda: resolved_at(rig) > 0)
        slow.execute(FILLED[Lane.LIVE], filling(rig.topics.changes, 1, 1))
        written = now(rig)
        taken = rig.ask(LIVE_TURN)
        until(lambda: rig.ask(LIVE_TURN) >= taken + 2)  # The one before waits for the transaction.
        cut = now(rig)
        until(lambda: rig.cut_connections() >= 1)
        until(lambda: turns(relay, "lost") >= 1)
        slow.commit()
        committed = now(rig)
        until(lambda: resolved_at(rig) > committed)
        between = "SELECT count(*) FROM relay_turn_points WHERE lane = 'live' AND resolved_at BETWEEN :written AND :cut"
        assert rig.ask(between, written=written, cut=cut) == 0
    assert_truthful(rig, {b"k1": committed})


def losses(rig: Rig, lane: Lane = Lane.LIVE) -> dict[int, int]:
    """By partition, the loss number of the newest record."""
    return {partition: datum["loss"] for partition, _, datum in rig.resolved(lane)}


def test_a_recreated_topic_counts_as_one_loss_in_each_partition(rig: Rig) -> None:
    with rig.relay():
        rig.fill(400)
        until(lambda: rig.pending() == 0 and resolved_at(rig) > 0)
    assert set(losses(rig).values()) == {0}
    rig.recreate([rig.topics.changes])
    with rig.relay() as relay:
        until(lambda: losses(rig) == dict.fromkeys(PARTITIONS, 1))
        last = now(rig)
        until(lambda: resolved_at(rig) > last + 2_000_000)
        assert relay.metric("consent_relay_changes_losses_total", lane="bulk") == 0
        assert relay.metric("consent_relay_changes_losses_total", lane="live") == 4
    assert losses(rig) == dict.fromkeys(PARTITIONS, 1)
    assert set(losses(rig, Lane.BULK).values()) == {0}


def test_a_partition_that_ends_lower_than_its_last_record_counts_as_a_loss(rig: Rig) -> None:
    # What a broker that was restored from a copy looks like: the same topic, and lower offsets.
    with rig.relay():
        until(lambda: resolved_at(rig) > 0)
    with rig.owner.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE relay_partitions SET last_offset = 100000 WHERE lane = 'live' AND partition = 2"
        )
    with rig.relay() as relay:
        until(lambda: losses(rig)[2] == 1)
        last = now(rig)
        until(lambda: resolved_at(rig) > last + 1_000_000)
        assert relay.metric("consent_relay_changes_losses_total", lane="live") == 1
    assert losses(rig) == {0: 0, 1: 0, 2: 1, 3: 0}


def test_what_ingest_has_recorded_is_stated_beside_it(rig: Rig) -> None:
    rig.submit(rig.encoded([refusal() for _ in range(20)]))
    with rig.relay(), rig.ingest():

        def inbound(lane: Lane) -> int:
            found = [datum["inbound_resolved_at"] for _, _, datum in rig.resolved(lane)]
            return max((each for each in found if each is not None), default=0)

        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 20)
        for lane in Lane:
            last = now(rig)
            until(lambda: inbound(lane) > last)  # noqa: B023 - used at once
            assert inbound(lane) <= now(rig)


def test_an_ingest_that_was_stopped_ages(rig: Rig) -> None:
    with rig.ingest():
        until(lambda: rig.ask("SELECT coalesce(min(resolved_at), 0) FROM ingest_positions") > 0)
    stopped = now(rig)
    with rig.relay():
        until(lambda: resolved_at(rig) > stopped + 1_000_000)
        assert all(datum["inbound_resolved_at"] < stopped for _, _, datum in rig.resolved())


def test_a_position_of_ingest_that_a_fast_clock_gave_is_not_believed_once_it_was_set_back(rig: Rig) -> None:
    recorded = "SELECT coalesce(min(resolved_at), 0) FROM ingest_positions"
    with rig.ingest():
        until(lambda: rig.ask(recorded) > 0)
    with rig.owner.begin() as connection:
        connection.exec_driver_sql("UPDATE ingest_positions SET resolved_at = resolved_at + 3600000000")
    with rig.relay():
        last = now(rig)
        until(lambda: resolved_at(rig) > last)
        assert {datum["inbound_resolved_at"] for _, _, datum in rig.resolved()} == {0}
    with rig.ingest():
        until(lambda: last < rig.ask(recorded) <= now(rig))


@pytest.mark.parametrize("lane", list(Lane))
def test_a_database_whose_clock_was_set_back_by_an_hour_states_its_present_time(rig: Rig, lane: Lane) -> None:
    with rig.relay():
        until(lambda: resolved_at(rig, lane) > 0)
    with rig.owner.begin() as connection:
        connection.exec_driver_sql("UPDATE relay_partitions SET resolved_at = resolved_at + 3600000000")
        connection.exec_driver_sql("UPDATE relay_turns SET taken_at = taken_at + 3600000000")
        connection.exec_driver_sql(
            "INSERT INTO relay_turn_points (lane, turn, resolved_at, highest_outbox_id)"
            f" SELECT lane, 1000000, resolved_at, 0 FROM relay_partitions WHERE partition = 0 AND lane = '{lane}'"
        )
    restarted_at = now(rig)
    with rig.relay() as relay:
        until(lambda: resolved_at(rig, lane) > restarted_at)
        assert resolved_at(rig, lane) <= now(rig)
        assert relay.metric("consent_relay_resolved_clock_set_back_total", lane=lane.value) == 1
        until(lambda: relay.health.readiness() == (True, []))
