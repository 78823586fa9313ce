"""How far a topic has been read, compared with where the broker reports that it ends."""

from collections import deque
from collections.abc import Mapping

_PROBES_KEPT = 600
_REGRESSIONS_TOLERATED = 3


class Freshness:
    """Pure bookkeeping; times are seconds of whatever clock the caller uses.

    A probe asks for all end offsets at one moment. Once the reader has read up to every one of them it holds all that
    was committed before that moment, `as_of`. That is no age of an answer: what the ledger holds may be on its way to
    the topic for long (`consent_kafka.resolved`)."""

    def __init__(self, partitions: int) -> None:
        self._reached = [0] * partitions
        self._asked_at = 0.0
        self._reached_when_asked = tuple(self._reached)
        self._probes: deque[tuple[float, Mapping[int, int]]] = deque(maxlen=_PROBES_KEPT)
        self._regressions = 0
        self.as_of: float | None = None

    def advance_to(self, partition: int, position: int) -> None:
        """All records below `position` are in the view. Control records count, so positions come from the
        consumer, not from the last record."""
        if position > self._reached[partition]:
            self._reached[partition] = position

    def position(self, partition: int) -> int:
        return self._reached[partition]

    def asked(self, at: float) -> None:
        """A probe is sent now, the only one until it is `answered` or given up."""
        self._asked_at = at
        self._reached_when_asked = tuple(self._reached)

    def answered(self, ends: Mapping[int, int]) -> None:
        """At some moment after the probe was sent the partitions ended at `ends`."""
        # Compared with the positions of that moment: while the answer was on its way the view may have read beyond it.
        if any(ends[partition] < reached for partition, reached in enumerate(self._reached_when_asked)):
            self._regressions += 1
            return
        self._regressions = 0
        # The oldest one may fall out when there are too many: whatever satisfies a later one satisfies it.
        self._probes.append((self._asked_at, ends))

    def update(self) -> None:
        """Take note of the probes that are satisfied by now."""
        while self._probes:
            sent_at, ends = self._probes[0]
            if any(self._reached[partition] < end for partition, end in ends.items()):
                return
            self.as_of = sent_at
            self._probes.popleft()

    @property
    def truncated(self) -> bool:
        """The topic ends below what we have read, and not for a moment only (a new leader may lag): it was
        truncated or recreated, and what the view holds may be gone from it."""
        return self._regressions > _REGRESSIONS_TOLERATED
