"""The clock by which permissions end at the merge (R4, R37, R63)."""

from __future__ import annotations

import pytest

from suppression.merge.record_clock import RecordClock

SECOND = 1_000_000
HOUR = 3_600 * SECOND
NOW = 1_790_000_000 * SECOND


class Clocks:
    """The true time, and what the own wall clock is off by."""

    def __init__(self) -> None:
        self.true = NOW
        self.off = 0
        self.clock = RecordClock(lambda: self.true + self.off, lambda: self.true - NOW)


def test_without_records_it_is_the_own_clock() -> None:
    clocks = Clocks()
    assert clocks.clock() == NOW


def test_it_is_the_later_of_the_own_clock_and_the_append_times() -> None:
    clocks = Clocks()
    clocks.off = -SECOND
    clocks.clock.observe(NOW, None)
    assert clocks.clock() == NOW
    clocks.off = 5 * SECOND
    assert clocks.clock() == NOW + 5 * SECOND


def test_a_host_that_is_an_hour_behind_ends_permissions_by_the_other_two_clocks() -> None:  # R63
    clocks = Clocks()
    clocks.off = -HOUR
    clocks.clock.observe(NOW, NOW - SECOND)
    assert clocks.clock() == NOW - SECOND
    clocks.true += 600 * SECOND  # No record comes any more: the relay is dead.
    assert clocks.clock() == clocks.true - SECOND


@pytest.mark.parametrize("resolved_at", [None, NOW])
def test_a_broker_whose_clock_is_fast_is_not_followed(resolved_at: int | None) -> None:  # R63
    clocks = Clocks()
    clocks.clock.observe(NOW + HOUR, resolved_at)
    assert clocks.clock() == NOW


def test_a_backlog_makes_no_permission_end_later() -> None:  # R63
    clocks = Clocks()
    clocks.clock.observe(NOW - HOUR, NOW - HOUR)
    assert clocks.clock() == NOW


def test_what_was_read_before_the_other_clocks_were_set_right_is_forgotten() -> None:
    clocks = Clocks()
    clocks.clock.observe(NOW + HOUR, NOW + HOUR)
    clocks.clock.observe(NOW, NOW)
    assert clocks.clock() == NOW
