"""Alive is not enough: a consumer has to get somewhere."""

from consent_runtime.progress import Progress


def test_what_does_not_move_beyond_its_bound_stalls_until_it_does() -> None:  # R41
    now = 100.0
    progress = Progress(bound=60.0, clock=lambda: now)
    now = 160.0
    assert progress.stalled() is None
    now = 161.0
    assert progress.stalled() == 61.0
    progress.moved()
    assert progress.stalled() is None
