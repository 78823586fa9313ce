"""The rule behind every commit: never beyond the oldest unacknowledged range, whatever holes offsets have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_kafka.transport.offsets import OffsetTracker, Range

# A run: how far its first record is from the last position, how many records it holds, and how far apart they are.
runs = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=30)


def deliver(tracker: OffsetTracker, shapes: list[tuple[int, int, int]]) -> list[tuple[Range, list[int]]]:
    position, delivered = 0, []
    for gap, count, stride in shapes:
        offsets = [position + gap + index * stride for index in range(count)]
        position = offsets[-1] + 1
        delivered.append((tracker.deliver(offsets[0], position, count), offsets))
    return delivered


@given(shapes=runs, data=st.data())
def test_a_commit_never_passes_an_unacknowledged_record(
    shapes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    tracker = OffsetTracker()
    delivered = deliver(tracker, shapes)
    unacknowledged = {offset for _, offsets in delivered for offset in offsets}
    highest = 0
    for delivery, offsets in data.draw(st.permutations(delivered)):
        assert tracker.acknowledge(delivery)
        unacknowledged -= set(offsets)
        safe = tracker.safe
        assert safe is not None
        assert all(offset >= safe for offset in unacknowledged)
        assert safe >= highest
        highest = safe
        assert tracker.outstanding == len(unacknowledged)
        if data.draw(st.booleans()) and tracker.committable is not None:
            tracker.committed(tracker.committable)
            assert tracker.committable is None
    assert tracker.safe == delivered[-1][0].end


def test_what_is_acknowledged_out_of_order_waits_for_the_oldest() -> None:
    tracker = OffsetTracker()
    oldest, middle, newest = tracker.deliver(5, 8, 3), tracker.deliver(20, 22, 2), tracker.deliver(22, 30, 4)
    tracker.acknowledge(newest)
    tracker.acknowledge(middle)
    assert tracker.committable is None
    assert tracker.outstanding == 3
    tracker.acknowledge(oldest)
    assert tracker.committable == 30


def test_the_record_in_flight_right_after_the_committed_offset_is_not_skipped() -> None:
    """Stock Faust's off-by-one: committed 2585, 2585 in flight, 2586..2589 acknowledged: it commits 2590."""
    tracker = OffsetTracker()
    tracker.advance_to(2585)
    tracker.deliver(2585, 2586, 1)
    for offset in range(2586, 2590):
        tracker.acknowledge(tracker.deliver(offset, offset + 1, 1))
    assert tracker.safe == 2585
    assert tracker.committable is None


def test_a_position_behind_markers_alone_is_committed_once_all_before_it_is_done() -> None:
    tracker = OffsetTracker()
    delivered = tracker.deliver(0, 3, 3)
    tracker.advance_to(5)
    assert tracker.committable is None
    tracker.acknowledge(delivered)
    assert tracker.committable == 5


def test_the_place_where_reading_started_is_no_news() -> None:
    tracker = OffsetTracker()
    assert tracker.committable is None
    tracker.advance_to(7)
    assert tracker.committable is None
    tracker.advance_to(9)
    assert tracker.committable == 9


def test_acknowledging_twice_counts_once() -> None:
    tracker = OffsetTracker()
    first, _ = tracker.deliver(0, 3, 3), tracker.deliver(3, 6, 3)
    assert tracker.acknowledge(first)
    assert not tracker.acknowledge(first)
    assert tracker.outstanding == 3


def test_a_range_that_was_read_before_is_refused() -> None:
    tracker = OffsetTracker()
    tracker.deliver(0, 10, 4)
    with pytest.raises(ValueError, match="does not follow"):
        tracker.deliver(9, 12, 2)
