"""Alive is not enough: a consumer has to get somewhere."""

from consent_service.stall_timer import StallTimer


def test_what_does_not_move_beyond_its_bound_stalls_until_it_does() -> None:  # R41
    now = 100.0
    progress = StallTimer(bound=60.0, clock=lambda: now)
    now = 160.0
    assert progress.stalled_for() is None
    now = 161.0
    assert progress.stalled_for() == 61.0
    progress.progressed()
    assert progress.stalled_for() is None
