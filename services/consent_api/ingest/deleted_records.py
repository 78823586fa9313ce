"""What was deleted before it was read: a client whose place the topic no longer holds goes on elsewhere, silently.

Pure but for the two questions that it asks of the broker, and those only where an offset is missing.
"""

import time
from collections.abc import Callable, Iterable

from consent_kafka.deleted_records import deleted_unread

Partition = tuple[str, int]
"""A topic and a partition."""

CONTROL_RECORDS = 2
"""As many offsets as this are missing all the time where an upstream system writes transactions."""
RECHECK_SECONDS = 1.0
"""For so long such a gap is not asked about again."""
UNANSWERED_PAUSE_SECONDS = 10.0
"""For so long a broker that did not answer is not asked again."""


class DeletedRecords:
    """Of the partitions that are assigned now."""

    def __init__(
        self,
        *,
        committed: Callable[[Partition], int | None],
        begins: Callable[[Partition], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`committed`: where the group was to go on, None when it never was there. `begins`: what the topic still
        holds."""
        self._committed = committed
        self._begins = begins
        self._clock = clock
        self._next: dict[Partition, int] = {}
        self._quiet_until: dict[Partition, float] = {}
        self._silent_until = float("-inf")
        self._before_first_start: dict[Partition, int] = {}
        self._seen: set[Partition] = set()

    def forget(self, places: Iterable[Partition]) -> None:
        """They belong to another member, or did meanwhile."""
        for place in places:
            self._next.pop(place, None)

    def before(self, place: Partition, offset: int, *, then: int) -> int:
        """How many offsets before `offset`, at which reading has come, were deleted unread; it goes on at `then`.

        Other offsets are missing too, where transactions ended or were aborted: those the topic still covers. Raises
        what the questions raise; this gap is then not asked about again, nor is any other for a while.
        """
        wanted = self._next.get(place)
        known = place in self._next
        self._next[place] = then
        now = self._clock()
        if now < self._silent_until:
            return 0
        self._silent_until = now + UNANSWERED_PAUSE_SECONDS  # unless both answer
        if not known:
            wanted = self._committed(place)
        lost = 0
        if wanted is None and offset > 0 and place not in self._seen:
            if before := deleted_unread(0, begins=self._begins(place), found=offset):
                self._before_first_start[place] = before
                self._seen.add(place)
        elif wanted is not None and offset > wanted and self._worth_asking(place, offset - wanted, now):
            lost = deleted_unread(wanted, begins=self._begins(place), found=offset)
        self._silent_until = float("-inf")
        return lost

    def before_first_start(self, place: Partition) -> int:
        """How many offsets had been deleted before this group first read the partition. Returned once, then 0."""
        return self._before_first_start.pop(place, 0)

    def _worth_asking(self, place: Partition, missing: int, now: float) -> bool:
        if missing <= CONTROL_RECORDS and now < self._quiet_until.get(place, now):
            return False
        self._quiet_until[place] = now + RECHECK_SECONDS
        return True
