"""Adoption of ListResolved records at a reader (design.md, decision 6, "At a reader")."""

from typing import Any

import pytest

from consent_kafka.position import Position
from consent_kafka.resolved import ListEnd, ListResolved, ResolvedPartition, StalenessLimits

SECOND = 1_000_000
TOPIC, ID = "suppression.sms.v1", "id-1"
LIMITS = StalenessLimits()


def record(resolved_at: int | None, *, end: int = 10, **changes: Any) -> ListResolved:
    fields: dict[str, Any] = {
        "partition": 0,
        "resolved_at": resolved_at,
        "bulk_resolved_at": resolved_at,
        "inbound_resolved_at": None,
        "loss": 0,
        "lists": (ListEnd(topic=TOPIC, topic_id=ID, end_offset=end),),
        "hole": None,
        "written_at": resolved_at or 0,
        "append_time": resolved_at or 0,
    }
    return ListResolved(**(fields | changes))


def at(offset: int, topic_id: str = ID) -> dict[str, Position]:
    return {TOPIC: Position(topic_id, offset)}


def adopted(*records: ListResolved, clock: int, elapsed: int = 0, offset: int = 10) -> ResolvedPartition:
    resolved = ResolvedPartition()
    for each in records:
        resolved.receive(each, elapsed=elapsed)
    resolved.advance(at(offset), clock=clock, elapsed=elapsed)
    return resolved


def test_nothing_is_known_before_a_record_is_adopted() -> None:
    resolved = ResolvedPartition()
    assert resolved.hindrance("sms", LIMITS, elapsed=0) == "unknown"
    assert resolved.as_of("sms") is None


def test_a_record_is_adopted_once_its_offset_is_reached() -> None:
    resolved = adopted(record(100 * SECOND, end=11), clock=101 * SECOND, offset=10)
    assert resolved.age(0) is None
    assert resolved.advance(at(11), clock=103 * SECOND, elapsed=0)
    assert resolved.age(0) == 3 * SECOND
    assert resolved.as_of("sms") == 100 * SECOND


def test_a_record_of_another_topic_of_the_same_name_is_not_adopted() -> None:
    resolved = ResolvedPartition()
    resolved.receive(record(100 * SECOND), elapsed=0)
    assert not resolved.advance(at(10, "id-2"), clock=101 * SECOND, elapsed=0)
    resolved.receive(record(101 * SECOND, lists=(ListEnd(topic=TOPIC, topic_id="id-2", end_offset=3),)), elapsed=0)
    assert resolved.advance(at(10, "id-2"), clock=102 * SECOND, elapsed=0)


def test_the_age_grows_with_the_clock_that_runs_through_sleep_whatever_the_wall_clock_does() -> None:
    resolved = adopted(record(100 * SECOND), clock=101 * SECOND, elapsed=7)
    assert resolved.age(7 + 20 * SECOND) == 21 * SECOND


def test_a_reader_whose_clock_is_early_never_has_a_negative_age() -> None:
    resolved = adopted(record(100 * SECOND), clock=99 * SECOND)
    assert resolved.age(0) == 0


def test_a_record_more_than_two_seconds_later_than_the_readers_clock_is_not_adopted() -> None:
    assert adopted(record(103 * SECOND), clock=100 * SECOND).age(0) is None


def test_when_the_clock_of_the_ledger_was_fast_and_is_set_back_what_it_states_then_is_adopted() -> None:
    resolved = adopted(record(90 * SECOND), clock=91 * SECOND)
    for fast in (3_600, 3_601):
        resolved.receive(record(fast * SECOND, append_time=92 * SECOND), elapsed=0)
        assert not resolved.advance(at(10), clock=92 * SECOND, elapsed=0)
    resolved.receive(record(93 * SECOND), elapsed=0)
    assert resolved.advance(at(10), clock=93 * SECOND, elapsed=0)
    assert resolved.as_of("sms") == 93 * SECOND


def test_a_reader_whose_clock_was_fast_too_adopts_what_is_stated_when_both_are_set_back() -> None:
    resolved = adopted(record(3_600 * SECOND), clock=3_600 * SECOND, elapsed=0)
    assert not resolved.advance(at(10), clock=101 * SECOND, elapsed=1 * SECOND)
    resolved.receive(record(102 * SECOND), elapsed=2 * SECOND)
    assert resolved.advance(at(10), clock=102 * SECOND, elapsed=2 * SECOND)
    assert resolved.hindrance("sms", LIMITS, elapsed=31 * SECOND) is None
    assert resolved.as_of("sms") == 102 * SECOND


@pytest.mark.parametrize("lane", ["bulk_resolved_at", "inbound_resolved_at"])
def test_a_record_whose_bulk_or_inbound_time_a_fast_clock_gave_is_not_adopted(lane: str) -> None:
    resolved = adopted(record(100 * SECOND, **{lane: 3_600 * SECOND}), clock=100 * SECOND)
    assert resolved.hindrance("sms", LIMITS, elapsed=0) == "unknown"
    resolved.receive(record(101 * SECOND, **{lane: 101 * SECOND}), elapsed=0)
    assert resolved.advance(at(10), clock=101 * SECOND, elapsed=0)


def test_a_hole_that_a_fast_merge_named_is_closed_by_the_records_after_its_clock_was_set_back() -> None:
    resolved = adopted(record(100 * SECOND), clock=100 * SECOND)
    resolved.receive(record(101 * SECOND, hole="h1", written_at=3_600 * SECOND), elapsed=0)
    resolved.advance(at(10), clock=101 * SECOND, elapsed=0)
    assert resolved.hindrance("sms", LIMITS, elapsed=0) == "hole"
    resolved.receive(record(102 * SECOND), elapsed=0)
    resolved.advance(at(10), clock=102 * SECOND, elapsed=0)
    assert resolved.hindrance("sms", LIMITS, elapsed=0) is None


def test_a_reader_whose_clock_is_slow_adopts_a_record_when_its_time_has_come() -> None:
    resolved = adopted(record(103 * SECOND), clock=100 * SECOND)
    resolved.receive(record(104 * SECOND), elapsed=0)
    assert resolved.advance(at(10), clock=101 * SECOND, elapsed=0)
    assert resolved.as_of("sms") == 103 * SECOND


def test_what_a_reader_whose_clock_is_slow_adopts_late_is_as_old_as_its_receipt() -> None:  # R63
    resolved = adopted(record(3_700 * SECOND), clock=100 * SECOND)
    assert resolved.hindrance("sms", LIMITS, elapsed=0) == "unknown"
    assert resolved.advance(at(10), clock=3_700 * SECOND, elapsed=3_600 * SECOND)
    assert resolved.age(3_600 * SECOND) == 3_600 * SECOND
    assert resolved.hindrance("sms", LIMITS, elapsed=3_600 * SECOND) == "stale"


def test_the_clock_by_which_permissions_end_is_the_later_of_two_and_no_step_changes_it() -> None:  # R63
    behind = adopted(record(100 * SECOND, append_time=101 * SECOND), clock=99 * SECOND, elapsed=7).recency(
        "sms", LIMITS
    )
    assert behind.clock_at_zero == 101 * SECOND - 7
    wrong = adopted(record(100 * SECOND, append_time=3_700 * SECOND), clock=101 * SECOND).recency("sms", LIMITS)
    assert wrong.clock_at_zero == 101 * SECOND, "an append time more than two seconds ahead is not followed"


def test_after_a_restart_nothing_is_adopted_and_a_hole_is_still_known() -> None:
    resolved = adopted(record(100 * SECOND), clock=100 * SECOND)
    resolved.restart()
    assert resolved.hindrance("sms", LIMITS, elapsed=0) == "unknown"
    resolved.receive(record(None, hole="h1", written_at=101 * SECOND), elapsed=0)
    resolved.restart()
    assert resolved.hindrance("sms", LIMITS, elapsed=0) == "hole"


def test_a_clock_of_the_ledger_that_is_late_is_bounded_by_the_append_time() -> None:
    resolved = adopted(record(102 * SECOND, append_time=95 * SECOND), clock=101 * SECOND)
    assert resolved.age(0) == 6 * SECOND
    assert resolved.as_of("sms") == 95 * SECOND


def test_an_older_record_changes_nothing() -> None:
    resolved = adopted(record(100 * SECOND), record(90 * SECOND), clock=101 * SECOND)
    assert resolved.as_of("sms") == 100 * SECOND


def test_of_several_records_the_newest_that_is_reached_counts() -> None:
    first, second, third = record(1 * SECOND, end=5), record(2 * SECOND, end=8), record(3 * SECOND, end=20)
    resolved = adopted(first, second, third, clock=4 * SECOND, offset=10)
    assert resolved.as_of("sms") == 2 * SECOND


def test_a_reader_that_lags_far_adopts_what_it_reaches() -> None:
    records = [record(number * SECOND, end=number) for number in range(1, 500)]
    resolved = adopted(*records, clock=600 * SECOND, offset=40)
    assert resolved.as_of("sms") == 40 * SECOND
    resolved.advance(at(500), clock=600 * SECOND, elapsed=0)
    assert resolved.as_of("sms") == 499 * SECOND


@pytest.mark.parametrize(
    ("changes", "elapsed", "expected"),
    [
        ({}, 0, None),
        ({}, 31 * SECOND, "stale"),
        ({"inbound_resolved_at": 30 * SECOND}, 0, "inbound_stale"),
        ({"inbound_resolved_at": 99 * SECOND}, 0, None),
        ({"bulk_resolved_at": None}, 0, "bulk_stale"),
        ({"bulk_resolved_at": 100 * SECOND - 901 * SECOND}, 0, "bulk_stale"),
    ],
)
def test_the_limits_of_each_lane(changes: dict[str, Any], elapsed: int, expected: str | None) -> None:
    resolved = adopted(record(100 * SECOND, **changes), clock=100 * SECOND)
    assert resolved.hindrance("sms", LIMITS, elapsed=elapsed) == expected


def test_a_hole_counts_at_once_and_until_a_later_record_has_none() -> None:
    resolved = adopted(record(100 * SECOND), clock=100 * SECOND)
    resolved.receive(record(None, end=10**9, hole="h1", written_at=101 * SECOND), elapsed=0)
    assert resolved.hindrance("sms", LIMITS, elapsed=0) == "hole"
    assert resolved.as_of("sms") is None
    resolved.receive(record(99 * SECOND, written_at=99 * SECOND), elapsed=0)
    assert resolved.hole("sms") == "h1", "a late record closes nothing"
    resolved.receive(record(102 * SECOND), elapsed=0)
    resolved.advance(at(10), clock=102 * SECOND, elapsed=0)
    assert resolved.hindrance("sms", LIMITS, elapsed=0) is None


def test_a_late_record_with_a_hole_that_was_never_closed_counts() -> None:
    resolved = adopted(record(100 * SECOND), clock=100 * SECOND)
    resolved.receive(record(None, hole="h2", written_at=90 * SECOND), elapsed=0)
    assert resolved.hole("sms") == "h2"


def test_a_late_record_with_a_hole_that_was_closed_changes_nothing() -> None:
    resolved = adopted(record(None, hole="h1", written_at=90 * SECOND), record(100 * SECOND), clock=100 * SECOND)
    resolved.receive(record(None, hole="h1", written_at=91 * SECOND), elapsed=0)
    assert resolved.hole("sms") is None


def test_a_hole_of_one_channel_concerns_that_channel_alone() -> None:
    resolved = adopted(record(100 * SECOND), clock=100 * SECOND)
    resolved.receive(record(100 * SECOND, channel_holes={"email": "h3"}, written_at=101 * SECOND), elapsed=0)
    assert resolved.hole("sms") is None
    assert resolved.hindrance("email", LIMITS, elapsed=0) == "hole"


def test_the_loss_number_only_grows() -> None:
    resolved = adopted(record(100 * SECOND, loss=2), record(101 * SECOND, loss=1), clock=101 * SECOND)
    assert resolved.loss == 2
