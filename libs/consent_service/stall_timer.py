"""Whether a consumer that is alive also gets anywhere. Pure: the clock is given."""

import time
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


def open_transaction(topic: str, partition: int, *, offset: int, seconds: float) -> str:
    """What a health page states of records that exist and that no reader of committed records is given."""
    return (
        f"an open transaction on {topic}/{partition} hides the records from offset {offset} on, for {seconds:.0f} s:"
        " abort it (docs/runbooks.md)"
    )


class StableOffset:
    """Of one partition: for how long its last stable offset has not advanced below its end, as far as it was observed.

    Transactions of ours hold it for milliseconds; for longer only a transaction that was left open does."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._offset: int | None = None
        self._since = 0.0
        self._seconds = 0.0

    def observe(self, *, stable: int, end: int) -> None:
        """`end` is the high watermark, and not younger than `stable`, or both come from one answer."""
        now = self._clock()
        if stable >= end:
            self._offset, self._seconds = None, 0.0
        elif stable == self._offset:
            self._seconds = now - self._since
        else:
            self._offset, self._since, self._seconds = stable, now, 0.0

    def hindrance(self, topic: str, partition: int, *, bound: float = STALLED_SECONDS) -> str | None:
        """What a health page states once it has not advanced for longer than `bound` seconds."""
        if self._offset is None or self._seconds <= bound:
            return None
        return open_transaction(topic, partition, offset=self._offset, seconds=self._seconds)
