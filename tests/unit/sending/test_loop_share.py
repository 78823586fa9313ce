"""Bulk leaves half of the event loop to live work."""

import pytest

from propagator.sending.loop_share import MAX_PAUSE_SECONDS, LoopShare


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def work(share: LoopShare, clock: Clock, seconds: float) -> None:
    with share.bulk():
        clock.now += seconds


def test_bulk_pauses_as_long_as_it_has_kept_the_loop() -> None:
    clock = Clock()
    share = LoopShare(clock)
    assert share.seconds_until_bulk() == 0.0
    work(share, clock, 0.1)
    assert share.seconds_until_bulk() == pytest.approx(0.1)
    clock.now += 0.1
    assert share.seconds_until_bulk() == 0.0


def test_the_work_of_all_destinations_adds_up() -> None:
    clock = Clock()
    share = LoopShare(clock)
    work(share, clock, 0.1)
    work(share, clock, 0.1)
    assert share.seconds_until_bulk() == pytest.approx(0.2)


def test_bulk_goes_on_however_much_it_has_used() -> None:
    clock = Clock()
    share = LoopShare(clock)
    work(share, clock, 30.0)
    assert share.seconds_until_bulk() == MAX_PAUSE_SECONDS
    clock.now += MAX_PAUSE_SECONDS
    assert share.seconds_until_bulk() == 0.0
