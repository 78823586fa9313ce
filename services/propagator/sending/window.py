"""Keeps the work queue's window filled from the pending index.

The index is read when there is space for what it is known to hold, and again after a while (client-go: resync): so
what fell out of memory comes back. A lane for which nothing new is found is read less often.
"""

from __future__ import annotations

from collections.abc import Callable

from propagator.sending.ports import DestinationState
from propagator.sending.target_quarantine import TargetQuarantine
from propagator.sending.work_queue import LANES, IndexRead, Lane, WorkQueue
from propagator.timing import MAX_RESYNC_SECONDS, RESYNC_SECONDS


class Window:
    """One destination's. `clock` gives the loop's seconds, `now_micros` the wall clock, `answers` the calls that the
    destination has answered so far."""

    def __init__(
        self,
        state: DestinationState,
        queue: WorkQueue,
        quarantine: TargetQuarantine,
        *,
        clock: Callable[[], float],
        now_micros: Callable[[], int],
        answers: Callable[[], int],
    ) -> None:
        self._state = state
        self._queue = queue
        self._quarantine = quarantine
        self._clock = clock
        self._now_micros = now_micros
        self._answers = answers
        self._resync_at = dict.fromkeys(LANES, clock())
        self._interval = dict.fromkeys(LANES, RESYNC_SECONDS)

    def refill(self) -> None:
        """Read the lanes that have space and may have more."""
        now = self._clock()
        for lane in LANES:
            resync = now >= self._resync_at[lane]
            if resync:
                self._resync_at[lane] = now + self._interval[lane]
                if self._state.counts().get((lane.live, lane.action), 0) > self._queue.waiting(lane):
                    self._queue.expect_more([lane])
            if (reading := self._queue.reading(lane)) is not None:
                added = self._read(lane, reading, now)
                if added:
                    self._interval[lane] = RESYNC_SECONDS
                elif resync:
                    self._interval[lane] = min(2 * self._interval[lane], MAX_RESYNC_SECONDS)

    def _read(self, lane: Lane, reading: IndexRead, now: float) -> int:
        now_micros = self._now_micros()
        rows = self._state.pending(
            live=lane.live,
            kind=lane.action,
            limit=reading.limit,
            due_by=now_micros,
            skip_targets={*self._quarantine.closed_targets(lane.action), *reading.skip_targets},
        )
        return self._queue.refill(lane, rows, reading=reading, now=now, now_micros=now_micros, answers=self._answers())
