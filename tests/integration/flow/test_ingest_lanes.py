"""Two inbound topics, live and bulk, on real servers: live is recorded first, and neither loses anything. # R16"""

from __future__ import annotations

import time

from consent_api.ledger.lanes import Lane
from tests.integration.flow.rig import Rig, Running, refusal
from tests.support.waiting import until

BULK_WAITING = 30_000


def recorded(rig: Rig, ingest: Running, lane: Lane) -> float:
    topic = rig.topics.inbound if lane is Lane.LIVE else rig.topics.inbound_bulk
    return ingest.metric("consent_relay_ingest_records_total", topic=topic, outcome="recorded")


def test_what_comes_by_the_bulk_topic_is_bulk_and_goes_out_by_the_bulk_lane(rig: Rig) -> None:
    rig.submit(rig.encoded([refusal() for _ in range(30)]), topic=rig.topics.inbound_bulk)
    rig.submit(rig.encoded([refusal() for _ in range(7)]))
    with rig.ingest() as ingest:
        until(lambda: recorded(rig, ingest, Lane.BULK) == 30)
        until(lambda: recorded(rig, ingest, Lane.LIVE) == 7)
        until(lambda: rig.committed("inbound-bulk") == 30)
        assert ingest.health.readiness() == (True, [])
    assert rig.ask("SELECT count(*) FROM decisions WHERE bulk") == 30
    assert (rig.pending(Lane.LIVE), rig.pending(Lane.BULK)) == (7, 30)
    with rig.relay():
        until(lambda: rig.pending(Lane.LIVE) == rig.pending(Lane.BULK) == 0)
    for lane, number in ((Lane.LIVE, 7), (Lane.BULK, 30)):
        topic, codec = lane.changes(rig.topics), rig.codec()
        marks = [codec.decode(topic, each.value())["bulk"] for each in rig.changes(lane)]
        assert marks == [lane is Lane.BULK] * number


def test_the_same_event_by_both_topics_is_recorded_once_and_published_live(rig: Rig) -> None:
    events = rig.encoded([refusal() for _ in range(20)])
    rig.submit(events, topic=rig.topics.inbound_bulk)
    with rig.ingest() as ingest:
        until(lambda: recorded(rig, ingest, Lane.BULK) == 20)
        rig.submit(events)
        topic = rig.topics.inbound
        until(lambda: ingest.metric("consent_relay_ingest_records_total", topic=topic, outcome="repeated") == 20)
    assert rig.ask("SELECT count(*) FROM decisions") == 20
    assert rig.pending(Lane.LIVE) == 20


def test_live_is_recorded_within_its_latency_while_bulk_waits(rig: Rig) -> None:
    rig.submit(rig.encoded([refusal() for _ in range(BULK_WAITING)]), topic=rig.topics.inbound_bulk)
    with rig.ingest() as ingest:
        until(lambda: recorded(rig, ingest, Lane.BULK) > 0, seconds=60)
        began, first, waits = time.monotonic(), recorded(rig, ingest, Lane.BULK), []
        codec = rig.codec()
        while time.monotonic() - began < 8 and recorded(rig, ingest, Lane.BULK) < BULK_WAITING:
            sent, number = time.monotonic(), len(waits) + 1
            rig.submit([codec.encode(rig.topics.inbound, refusal())])
            until(lambda: recorded(rig, ingest, Lane.LIVE) == number)  # noqa: B023 - used at once
            waits.append(time.monotonic() - sent)
        rate = (recorded(rig, ingest, Lane.BULK) - first) / (time.monotonic() - began)
        assert recorded(rig, ingest, Lane.BULK) < BULK_WAITING, "recorded too fast to prove anything"
    waits.sort()
    print(f"{len(waits)} live of p50 {waits[len(waits) // 2]:.3f} s, max {waits[-1]:.3f} s beside {rate:.0f} bulk/s")
    assert waits[int(len(waits) * 0.95)] < 2.0
    assert rate > 100, "bulk goes on"


def test_a_live_flood_leaves_bulk_a_share(rig: Rig) -> None:
    rig.submit(rig.encoded([refusal() for _ in range(2_000)]), topic=rig.topics.inbound_bulk)
    rig.submit(rig.encoded([refusal() for _ in range(12_000)]))
    with rig.ingest() as ingest:
        until(lambda: recorded(rig, ingest, Lane.LIVE) > 0)
        until(lambda: recorded(rig, ingest, Lane.BULK) > 0)
        assert recorded(rig, ingest, Lane.LIVE) < 12_000


def test_bulk_is_slowed_while_its_lane_is_more_than_a_minute_old_and_live_is_not(rig: Rig) -> None:
    with rig.owner.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO relay_partitions (lane, partition, topic_id, resolved_at) SELECT 'bulk', p, 't',"
            " (extract(epoch FROM clock_timestamp()) * 1e6)::bigint - 70000000 FROM generate_series(0, 3) AS p"
        )
    rig.submit(rig.encoded([refusal() for _ in range(1_000)]), topic=rig.topics.inbound_bulk)
    with rig.ingest(ingest_bulk_batch=50) as ingest:
        until(lambda: ingest.metric("consent_relay_ingest_bulk_throttled") == 1)
        rig.submit(rig.encoded([refusal() for _ in range(500)]))
        until(lambda: recorded(rig, ingest, Lane.LIVE) == 500)
        until(lambda: recorded(rig, ingest, Lane.BULK) >= 50, what="slowed is not stopped")
        assert recorded(rig, ingest, Lane.BULK) < 1_000
        assert ingest.health.readiness() == (True, [])
        with rig.owner.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE relay_partitions SET resolved_at = (extract(epoch FROM clock_timestamp()) * 1e6)::bigint"
            )
        until(lambda: recorded(rig, ingest, Lane.BULK) == 1_000)
        assert ingest.metric("consent_relay_ingest_bulk_throttled") == 0


def test_a_dead_letter_goes_back_to_the_topic_of_its_lane(rig: Rig) -> None:
    rig.submit([b"junk", *rig.encoded([refusal(tenant="newcomer")])], topic=rig.topics.inbound_bulk)
    with rig.ingest() as ingest:
        topic = rig.topics.inbound_bulk
        until(lambda: ingest.metric("consent_relay_ingest_records_total", topic=topic, outcome="dead_letter") == 2)
    assert "2 replayed, 0 kept" in rig.run("dead-letters", "replay", "--every", "--yes")
    assert len(rig.records(rig.topics.inbound_bulk)) == 4
    assert rig.records(rig.topics.inbound) == []
