"""Detects partitions with unread records that are not being consumed, and a lost membership. Pure; the loop asks the
broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consent_kafka.stall_detector import StallDetector

Partition = tuple[str, int]
"""A topic and a partition."""


class StallDetectors:
    """Of the partitions that are assigned now. One thread."""

    def __init__(self, *, bound: float, clock: Callable[[], float]) -> None:
        """`bound`: the seconds for which a partition may hold unread records of which none is taken, and for which the
        group may take to assign what it has revoked."""
        self._bound = bound
        self._clock = clock
        self._joined = False
        self._revoked_at: float | None = None
        self._partitions: dict[Partition, StallDetector] = {}

    def assigned(self, places: Iterable[Partition]) -> None:
        """These are assigned from now on; their positions are not known yet."""
        self._joined, self._revoked_at = True, None
        self._partitions |= {place: StallDetector(*place, bound=self._bound, clock=self._clock) for place in places}

    def lost(self, places: Iterable[Partition]) -> None:
        """These were revoked. A member is assigned what it has from then on, or that it has none."""
        if self._revoked_at is None:
            self._revoked_at = self._clock()
        for place in places:
            self._partitions.pop(place, None)

    def waiting_on_purpose(self) -> None:
        """The loop waits on purpose, and reports the reason itself."""
        for each in self._partitions.values():
            each.progressed()

    def position(self, place: Partition, position: int) -> bool:
        """As `StallDetector.position`; True of a partition that was revoked meanwhile."""
        return place not in self._partitions or self._partitions[place].position(position)

    def end_offset(self, place: Partition, end: int, *, stable: int) -> None:
        """As `StallDetector.end_offset`."""
        self._partitions[place].end_offset(end, stable=stable)

    def readiness(self) -> bool | str:
        """True, or what the health page has."""
        if not self._joined:
            return "has not joined its group yet"
        if self._revoked_at is not None and (seconds := self._clock() - self._revoked_at) >= self._bound:
            return f"is no member of its group and reads nothing, for {seconds:.0f} s: see what the broker answers it"
        return "; ".join(reason for each in self._partitions.values() if (reason := each.reason())) or True
