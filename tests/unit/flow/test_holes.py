"""Which holes a relay repairs, and when a finished repair has to be repeated."""

from __future__ import annotations

from typing import Any

import pytest

from consent_api.outbox_relay.holes import Hole, Repair, ReportedHole, covers, marker_is_lost, reported_holes

BULK = "consent.changes.bulk.v1"


def record(**changes: Any) -> dict[str, Any]:
    inputs = [
        {"topic": "consent.changes.v1", "topic_id": "live", "offset": 7},
        {"topic": BULK, "topic_id": "bulk", "offset": 40},
    ]
    return {"partition": 2, "hole": None, "channel_holes": {}, "inputs": inputs, **changes}


def test_a_partition_without_a_hole_reports_none() -> None:
    assert reported_holes(record(), bulk_topic=BULK) == []


def test_holes_of_all_channels_and_of_one_are_distinguished() -> None:
    found = reported_holes(record(hole="a", channel_holes={"sms": "b"}), bulk_topic=BULK)
    assert {(each.hole.hole_id, each.hole.channel) for each in found} == {("a", None), ("b", "sms")}
    assert {(each.hole.partition, each.bulk_topic_id, each.bulk_offset) for each in found} == {(2, "bulk", 40)}


def test_a_hole_is_reported_before_the_merge_has_read_any_input() -> None:
    [found] = reported_holes(record(hole="a", inputs=[]), bulk_topic=BULK)
    assert (found.bulk_topic_id, found.bulk_offset) == (None, 0)


def test_a_repair_is_limited_to_its_partition_and_channel() -> None:
    holes = [Hole(hole_id="a", partition=1, channel=None), Hole(hole_id="b", partition=2, channel="sms")]
    assert covers(holes, channel="email", partition=1)
    assert covers(holes, channel="sms", partition=2)
    assert not covers(holes, channel="email", partition=2)
    assert not covers(holes, channel="sms", partition=3)


@pytest.mark.parametrize(
    ("merged", "topic_id", "end", "lost"),
    [
        (40, "bulk", 60, False),  # the marker at 50 is still to be merged
        (40, None, None, False),  # the broker does not answer
        (51, "bulk", 60, True),  # merged, and the hole is still open
        (40, "another", 60, True),
        (40, "bulk", 50, True),  # Kafka went back
    ],
)
def test_a_marker_that_will_not_be_read_again_is_found(
    merged: int, topic_id: str | None, end: int | None, lost: bool
) -> None:
    hole = Hole(hole_id="a", partition=2, channel=None)
    reported = ReportedHole(hole=hole, bulk_topic_id="bulk", bulk_offset=merged)
    repair = Repair(hole_id="a", topic_id="bulk", cursor=None, events=9, marker_offset=50)
    assert marker_is_lost(reported, repair, topic_id=topic_id, end=end) is lost


def test_a_repair_under_way_has_no_marker_to_lose() -> None:
    reported = ReportedHole(hole=Hole(hole_id="a", partition=2, channel=None), bulk_topic_id="bulk", bulk_offset=1_000)
    repair = Repair(hole_id="a", topic_id="old", cursor=None, events=0, marker_offset=None)
    assert not marker_is_lost(reported, repair, topic_id="bulk", end=0)
