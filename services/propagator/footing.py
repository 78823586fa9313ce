"""How sure a worker is that a partition is its own, and what it may say from there.

A worker that was frozen may have a successor that has told newer choices. It learns that within seconds of running
again; until then it says nothing, as its "yes" may be a wrong and its "no" an old one, which nobody would correct. A
Kafka that stays silent longer is away for everybody, and then a "no" goes out: in doubt the person is left alone.
"""

from __future__ import annotations

from collections.abc import Callable

from consent_runtime.transport.contract import Ownership

DOUBT_SECONDS = 15.0
"""The longest that a "no" waits to hear whose the partition is."""
GAP_SECONDS = 2.0
"""A process that runs looks several times a second: after a longer silence, which was a freeze, a new doubt begins."""


class Footing:
    """Of one partition. ``clock`` runs on while the process is frozen."""

    def __init__(self, ownership: Ownership, *, clock: Callable[[], float]) -> None:
        self._ownership = ownership
        self._clock = clock
        self._since = self._looked = float("-inf")

    def look(self) -> None:
        """Several times a second as long as the process runs, whether a "no" waits or not: doubt is counted by it."""
        now = self._clock()
        if self.sure() or now - self._looked > GAP_SECONDS:
            self._since = now
        self._looked = now

    def sure(self) -> bool:
        """Nobody else can have the partition: a "yes" may be said."""
        return self._ownership.fresh()

    def tenable(self) -> bool:
        """A "no" may be said: nobody else can have the partition, or that could not be found out in time."""
        if self.sure():
            return True
        now = self._clock()
        return now - self._looked <= GAP_SECONDS and now - self._since >= DOUBT_SECONDS
