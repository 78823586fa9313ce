"""A partition gets somewhere, or it is said for how long it does not, and why. # R41"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consent_kafka.stall_detector import StallDetector


class Watched(StallDetector):
    """A partition and its clock."""

    now = 0.0

    def __init__(self) -> None:
        super().__init__("topic", 3, bound=60.0, clock=lambda: self.now)


@pytest.fixture
def partition() -> Iterator[Watched]:
    return Watched()


def hidden(offset: int, seconds: int) -> str:
    return (
        f"an open transaction on topic/3 hides the records from offset {offset} on, for {seconds} s:"
        " abort it (docs/runbooks.md)"
    )


def test_a_reader_at_the_end_does_not_stall_and_one_below_it_does(partition: Watched) -> None:
    partition.position(7)
    for partition.now in range(0, 1_000, 5):
        partition.end_offset(7, stable=7)
        assert partition.reason() is None
    partition.now += 61
    partition.end_offset(9, stable=9)
    assert partition.reason() == "topic:3: not read for 61 s"
    assert partition.reason("2 records unacknowledged, no progress") == (
        "topic:3: 2 records unacknowledged, no progress for 61 s"
    )
    assert partition.position(8)
    assert partition.reason() is None


def test_progress_that_no_offset_shows_counts(partition: Watched) -> None:
    partition.position(7)
    partition.now = 1_000
    partition.progressed()
    partition.now = 1_060
    assert partition.stalled_for() is None


def test_a_position_that_is_not_known_is_no_progress(partition: Watched) -> None:
    partition.now = 61
    assert not partition.position(-1001)
    partition.end_offset(0, stable=0)
    assert partition.reason() == "topic:3: not read for 61 s"


def test_a_reader_before_what_a_transaction_hides_is_not_held_by_it(partition: Watched) -> None:
    partition.position(5)
    partition.now = 61
    partition.end_offset(9, stable=7)
    assert partition.reason() == "topic:3: not read for 61 s"
    partition.position(7)
    partition.now = 122
    partition.end_offset(9, stable=7)
    assert partition.reason() == hidden(7, 61)


def test_a_transaction_that_has_ended_is_not_the_reason_of_a_later_stall(partition: Watched) -> None:
    partition.position(7)
    partition.end_offset(9, stable=7)
    partition.position(9)
    partition.now = 61
    assert partition.reason() == "topic:3: not read for 61 s"


def test_a_topic_that_was_created_again_is_watched_like_any_other(partition: Watched) -> None:
    partition.position(100)
    partition.end_offset(100, stable=100)
    partition.end_offset(0, stable=0)
    partition.now = 61
    partition.end_offset(5, stable=5)
    assert partition.reason() == "topic:3: not read for 61 s"
    assert partition.position(5)
    partition.end_offset(5, stable=5)
    assert partition.reason() is None


def test_a_last_stable_offset_that_does_not_advance_is_named(partition: Watched) -> None:
    partition.last_stable(7, end=7)
    for partition.now in range(100, 161):
        partition.last_stable(7, end=20)
    assert partition.reason() is None
    partition.now = 161
    assert partition.reason() == hidden(7, 61)
    partition.last_stable(20, end=20)
    assert partition.reason() is None


def test_transactions_that_come_and_go_are_no_open_transaction(partition: Watched) -> None:
    for partition.now in range(0, 500, 5):
        partition.last_stable(int(partition.now), end=int(partition.now) + 3)
        assert partition.reason() is None


def test_a_broker_that_did_not_answer_for_a_while_makes_no_transaction_an_old_one(partition: Watched) -> None:
    partition.last_stable(7, end=7)
    partition.now = 600
    partition.last_stable(7, end=9)
    assert partition.reason() is None


@pytest.mark.parametrize("stable", [0, 4, 200])
def test_the_last_stable_offset_of_another_topic_of_that_name_is_watched(partition: Watched, stable: int) -> None:
    partition.last_stable(100, end=102)
    partition.last_stable(stable, end=stable + 2)
    partition.now = 61
    partition.last_stable(stable, end=stable + 3)
    assert partition.reason() == hidden(stable, 61)
