"""How much of the reader's time goes to bulk entries that are stored and not planned yet."""

import pytest

from propagator.state.reader import BACKLOG_MESSAGES, MAX_MESSAGES, deferred_addresses


@pytest.mark.parametrize("polled", [MAX_MESSAGES, MAX_MESSAGES - 8, BACKLOG_MESSAGES])
def test_while_the_topics_hold_more_they_are_read_before_bulk_is_planned(polled: int) -> None:
    # Some places of a full poll hold ends of partitions, so it has a few records less than it may.
    assert 0 < deferred_addresses(polled) <= deferred_addresses(0) / 10


@pytest.mark.parametrize("polled", [0, 1, BACKLOG_MESSAGES - 1])
def test_at_the_ends_of_the_topics_bulk_is_planned_in_larger_slices(polled: int) -> None:
    assert deferred_addresses(polled) == deferred_addresses(0)
