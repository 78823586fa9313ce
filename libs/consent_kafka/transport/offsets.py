"""Which offset of a partition may be committed: never one beyond the oldest unacknowledged record."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Range:
    """A delivered run of records: from `first` up to, but not with, `end`. It may hold fewer than it spans."""

    first: int
    end: int
    count: int
    acknowledged: bool = False


class OffsetTracker:
    """The unacknowledged ranges of one partition, oldest first.

    Offsets in Kafka have holes (compaction, transaction markers), so nothing here counts on one offset
    following another: what matters is only the order of delivery.
    """

    def __init__(self) -> None:
        self._ranges: deque[Range] = deque()
        self._position: int | None = None
        self._committed: int | None = None
        self.outstanding = 0

    def deliver(self, first: int, end: int, count: int) -> Range:
        """Note that `count` records from `first` on have been handed out and reading goes on at `end`."""
        if end <= first or not self.follows(first):
            raise ValueError(f"range {first}..{end} does not follow position {self._position}")
        if self._committed is None:
            self._committed = first
        delivered = Range(first, end, count)
        self._ranges.append(delivered)
        self._position = end
        self.outstanding += count
        return delivered

    def follows(self, first: int) -> bool:
        """Whether records from `first` on can have been read after those delivered so far."""
        return self._position is None or first >= self._position

    def acknowledge(self, delivered: Range) -> bool:
        """All effects of the range are done. False when that was known."""
        if delivered.acknowledged:
            return False
        delivered.acknowledged = True
        self.outstanding -= delivered.count
        while self._ranges and self._ranges[0].acknowledged:
            self._ranges.popleft()
        return True

    def advance_to(self, position: int) -> None:
        """Reading has come to `position` without finding a record (markers, aborted or compacted records)."""
        if self._position is None:
            self._committed = self._position = position
        elif position > self._position:
            self._position = position

    @property
    def safe(self) -> int | None:
        """The next offset to read after a restart: everything before it is done. None: nothing known yet."""
        return self._ranges[0].first if self._ranges else self._position

    @property
    def committable(self) -> int | None:
        """`safe`, when that is news to the broker."""
        safe = self.safe
        return safe if safe is not None and safe != self._committed else None

    def committed(self, offset: int) -> None:
        """The broker has taken `offset`."""
        if self._committed is None or offset > self._committed:
            self._committed = offset
