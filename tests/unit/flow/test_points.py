"""Which resolved timestamp holds for a partition, and what shows that Kafka lost records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consent_api.outbox_relay.points import (
    PartitionProgress,
    Point,
    has_gone_back,
    newest_resolved,
    publishable,
)


def point(resolved_at: int, highest: int) -> Point:
    return Point(turn=resolved_at, resolved_at=resolved_at, highest_outbox_id=highest, inbound_resolved_at=None)


def progress(resolved_at: int | None) -> PartitionProgress:
    return PartitionProgress(topic_id="t", last_offset=None, loss=0, resolved_at=resolved_at)


POINTS = [point(10, 100), point(20, 200), point(30, 200)]


def test_a_partition_without_rows_is_resolved_up_to_the_newest_point() -> None:
    assert newest_resolved(POINTS, lowest_pending_id=None) == point(30, 200)


def test_a_row_holds_back_every_point_that_covers_its_id() -> None:
    assert newest_resolved(POINTS, lowest_pending_id=201) == point(30, 200)
    assert newest_resolved(POINTS, lowest_pending_id=200) == point(10, 100)
    assert newest_resolved(POINTS, lowest_pending_id=100) is None


def test_an_empty_table_is_resolved_although_a_later_row_waits() -> None:
    assert newest_resolved([point(5, 0)], lowest_pending_id=1) == point(5, 0)


def test_one_partition_does_not_hold_back_another_and_nothing_is_stated_twice() -> None:
    partitions = {0: progress(None), 1: progress(10), 2: progress(30), 3: progress(30)}
    found = publishable(POINTS, partitions=partitions, lowest_pending={1: 150, 3: 1})
    assert found == {0: point(30, 200)}


@given(
    commits=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 100)), max_size=20, unique_by=lambda each: each[0]),
    turns=st.lists(st.integers(0, 100), max_size=10),
    published=st.sets(st.integers(1, 50)),
)
def test_no_row_visible_at_the_stated_time_is_left(
    commits: list[tuple[int, int]], turns: list[int], published: set[int]
) -> None:
    # A turn at t sees the rows whose transactions had committed by t, whatever the order of their ids.
    points = [point(t, max((i for i, committed in commits if committed <= t), default=0)) for t in turns]
    left = {i: committed for i, committed in commits if i not in published}
    found = newest_resolved(points, lowest_pending_id=min(left, default=None))
    if found is not None:
        assert all(committed > found.resolved_at for committed in left.values())


def test_a_record_that_lands_at_or_below_a_known_offset_shows_a_loss() -> None:
    assert not has_gone_back(lowest_new_offset=0, last_known_offset=None)
    assert not has_gone_back(lowest_new_offset=8, last_known_offset=7)
    assert has_gone_back(lowest_new_offset=7, last_known_offset=7)
    assert has_gone_back(lowest_new_offset=0, last_known_offset=7)
