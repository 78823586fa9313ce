"""Whether a consumer that is alive also gets anywhere. Pure: the clock is given."""

from collections.abc import Callable

STALLED_SECONDS = 60.0
"""So long may records wait without any progress before the process is not ready. Longer than whatever ends
by itself: a rebalance (60 s at most), a transaction (10 s), a statement (15 s), a broker that is started again."""


class StallTimer:
    """Of one piece of work, a partition say: when it last moved, had nothing to do, or waited on purpose."""

    def __init__(self, *, bound: float, clock: Callable[[], float]) -> None:
        """`bound` in seconds; `clock` runs on while the process is frozen."""
        self._bound = bound
        self._clock = clock
        self._progressed_at = clock()

    def progressed(self) -> None:
        """It has just come on, or is where it should be."""
        self._progressed_at = self._clock()

    def stalled_for(self) -> float | None:
        """For how many seconds it has not moved, once that is longer than the bound."""
        seconds = self._clock() - self._progressed_at
        return seconds if seconds > self._bound else None
