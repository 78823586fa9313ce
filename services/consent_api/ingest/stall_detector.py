"""Detects partitions with unread records that are not being consumed. Pure; the loop asks the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consent_runtime.progress import Progress

Partition = tuple[str, int]
"""A topic and a partition."""


class StallDetector:
    """Of the partitions that are assigned now. One thread."""

    def __init__(self, *, bound: float, clock: Callable[[], float]) -> None:
        """`bound`: the seconds for which a partition may hold unread records of which none is taken."""
        self._bound = bound
        self._clock = clock
        self._joined = False
        self._partitions: dict[Partition, tuple[Progress, int]] = {}

    def assigned(self, places: Iterable[Partition]) -> None:
        """These are assigned from now on; their positions are not known yet."""
        self._joined = True
        self._partitions |= {place: (Progress(bound=self._bound, clock=self._clock), _NOWHERE) for place in places}

    def lost(self, places: Iterable[Partition]) -> None:
        for place in places:
            self._partitions.pop(place, None)

    def waiting_on_purpose(self) -> None:
        """The loop waits on purpose, and reports the reason itself."""
        for progress, _ in self._partitions.values():
            progress.moved()

    def position(self, place: Partition, position: int) -> bool:
        """Everything before `position` is read (negative: that is not known). False when that is no news."""
        if place not in self._partitions:
            return True  # The partition was revoked meanwhile.
        progress, before = self._partitions[place]
        if position <= before:
            return False
        self._partitions[place] = progress, position
        progress.moved()
        return True

    def end_offset(self, place: Partition, end: int) -> None:
        """`end` is the partition's end offset: no record exists at or after it."""
        progress, position = self._partitions[place]
        if end <= position:
            progress.moved()

    def readiness(self) -> bool | str:
        """True, or what the health page has."""
        if not self._joined:
            return "has not joined its group yet"
        stalled = {place: seconds for place, (each, _) in self._partitions.items() if (seconds := each.stalled())}
        return "; ".join(f"{topic}:{number}: not read for {s:.0f} s" for (topic, number), s in stalled.items()) or True


_NOWHERE = -1
