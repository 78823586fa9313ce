"""Alive is not enough: a consumer has to get somewhere."""

from consent_service.stall_timer import StableOffset, StallTimer


def test_what_does_not_move_beyond_its_bound_stalls_until_it_does() -> None:  # R41
    now = 100.0
    progress = StallTimer(bound=60.0, clock=lambda: now)
    now = 160.0
    assert progress.stalled_for() is None
    now = 161.0
    assert progress.stalled_for() == 61.0
    progress.progressed()
    assert progress.stalled_for() is None


def test_a_last_stable_offset_that_does_not_advance_is_named() -> None:  # R41
    now = 100.0
    offset = StableOffset(clock=lambda: now)
    offset.observe(stable=7, end=9)
    for now in range(101, 161):  # noqa: B007 - the clock reads it
        offset.observe(stable=7, end=20)
    assert offset.hindrance("topic", 3) is None
    now = 161.0
    offset.observe(stable=7, end=20)
    assert str(offset.hindrance("topic", 3)).startswith(
        "an open transaction on topic/3 hides the records from offset 7 on, for 61 s"
    )
    offset.observe(stable=20, end=20)
    assert offset.hindrance("topic", 3) is None


def test_transactions_that_come_and_go_are_no_open_transaction() -> None:
    now = 0.0
    offset = StableOffset(clock=lambda: now)
    for now in range(0, 500, 5):
        offset.observe(stable=now, end=now + 3)
        assert offset.hindrance("topic", 3) is None


def test_what_is_not_observed_does_not_grow_older() -> None:
    now = 0.0
    offset = StableOffset(clock=lambda: now)
    offset.observe(stable=7, end=9)
    now = 500.0
    assert offset.hindrance("topic", 3) is None
