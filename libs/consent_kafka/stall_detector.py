"""Whether a partition gets anywhere. Pure: the clock is given, and the caller asks the broker."""

from __future__ import annotations

from collections.abc import Callable

from consent_service.stall_timer import StallTimer


class StallDetector:
    """Of one partition: for how long an offset, a reader's position or the last stable one, has not advanced although
    it is below the end. One thread."""

    def __init__(self, topic: str, partition: int, *, bound: float, clock: Callable[[], float]) -> None:
        """`bound` in seconds; `clock` runs on while the process is frozen."""
        self._topic = topic
        self._partition = partition
        self._timer = StallTimer(bound=bound, clock=clock)
        self._position = _NOWHERE
        self._stable: int | None = None
        """The last stable offset while a transaction hides what is at or after it."""

    def progressed(self) -> None:
        """It has come on in a way that no offset shows, or waits on purpose."""
        self._timer.progressed()

    def position(self, position: int) -> bool:
        """Everything before `position` is read and done (negative: that is not known). False when that is no news."""
        if position <= self._position:
            return False
        self._position, self._stable = position, None
        self.progressed()
        return True

    def end_offset(self, end: int, *, stable: int) -> None:
        """`end` is the high watermark: no record exists at or after it. Records at or after `stable`, the last stable
        offset, cannot be read: a transaction is open."""
        self._stable = stable if stable < end else None
        # A topic that was created again ends below what was read of its predecessor.
        self._position = min(self._position, end)
        if end == self._position:
            self.progressed()

    def last_stable(self, stable: int, *, end: int) -> None:
        """In place of a position: no reader is watched, but what readers can be given. Transactions of ours hold it for
        milliseconds; for longer only one that was left open does. `end` is not younger than `stable`, or both come from
        one answer."""
        if stable != self._position or self._stable is None:
            self.progressed()
        self._position = stable
        self.end_offset(end, stable=stable)

    def stalled_for(self) -> float | None:
        """For how many seconds it has not advanced, once that is longer than the bound."""
        return self._timer.stalled_for()

    def reason(self, otherwise: str = "not read") -> str | None:
        """What a health page states; `otherwise` where no transaction is the cause."""
        seconds = self.stalled_for()
        if seconds is None:
            return None
        if self._stable is not None and self._position >= self._stable:
            return (
                f"an open transaction on {self._topic}/{self._partition} hides the records from offset {self._stable}"
                f" on, for {seconds:.0f} s: abort it (docs/runbooks.md)"
            )
        return f"{self._topic}:{self._partition}: {otherwise} for {seconds:.0f} s"


_NOWHERE = -1
