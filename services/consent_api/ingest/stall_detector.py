"""Detects partitions with unread records that are not being consumed. Pure; the loop asks the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consent_service.stall_timer import StallTimer, open_transaction

Partition = tuple[str, int]
"""A topic and a partition."""


class StallDetector:
    """Of the partitions that are assigned now. One thread."""

    def __init__(self, *, bound: float, clock: Callable[[], float]) -> None:
        """`bound`: the seconds for which a partition may hold unread records of which none is taken."""
        self._bound = bound
        self._clock = clock
        self._joined = False
        self._partitions: dict[Partition, tuple[StallTimer, int]] = {}
        self._stable: dict[Partition, int] = {}

    def assigned(self, places: Iterable[Partition]) -> None:
        """These are assigned from now on; their positions are not known yet."""
        self._joined = True
        self._partitions |= {place: (StallTimer(bound=self._bound, clock=self._clock), _NOWHERE) for place in places}

    def lost(self, places: Iterable[Partition]) -> None:
        for place in places:
            self._partitions.pop(place, None)
            self._stable.pop(place, None)

    def waiting_on_purpose(self) -> None:
        """The loop waits on purpose, and reports the reason itself."""
        for progress, _ in self._partitions.values():
            progress.progressed()

    def position(self, place: Partition, position: int) -> bool:
        """Everything before `position` is read (negative: that is not known). False when that is no news."""
        if place not in self._partitions:
            return True  # The partition was revoked meanwhile.
        progress, before = self._partitions[place]
        if position <= before:
            return False
        self._partitions[place] = progress, position
        progress.progressed()
        return True

    def end_offset(self, place: Partition, end: int, *, stable: int) -> None:
        """`end` is the partition's high watermark: no record exists at or after it. Records at or after `stable`, the
        last stable offset, cannot be read: a transaction is open."""
        progress, position = self._partitions[place]
        if stable < end:
            self._stable[place] = stable
        else:
            self._stable.pop(place, None)  # Else a later stall, for which the broker gives no end, would be put to it.
        if end <= position:
            progress.progressed()

    def readiness(self) -> bool | str:
        """True, or what the health page has."""
        if not self._joined:
            return "has not joined its group yet"
        stalled = {place: seconds for place, (each, _) in self._partitions.items() if (seconds := each.stalled_for())}
        return "; ".join(self._reason(place, seconds) for place, seconds in stalled.items()) or True

    def _reason(self, place: Partition, seconds: float) -> str:
        stable, position = self._stable.get(place), self._partitions[place][1]
        if stable is not None and position >= stable:
            return open_transaction(*place, offset=stable, seconds=seconds)
        return f"{place[0]}:{place[1]}: not read for {seconds:.0f} s"


_NOWHERE = -1
