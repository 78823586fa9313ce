"""How long a destination has asked us to wait, and the revocations that are tried meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable

from propagator.desired.model import SUPPRESS, Action
from propagator.sending.backoff import throttle_backoff
from propagator.timing import MAX_REVOCATION_INTERVAL_SECONDS


class Throttle:
    """`clock` gives monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._not_before = self._throttled_at = self._revocation_at = float("-inf")
        self._in_a_row = 0

    def seconds_until_permitted(self, action: Action) -> float:
        """Until a call of this action may start."""
        until = self._not_before
        if action == SUPPRESS:
            until = min(until, self._revocation_at)
        return max(0.0, until - self._clock())

    def record_throttled(self, retry_after: float | None) -> float:
        """The provider throttled a call. Returns the seconds to wait: what it asks for (`retry_after`), and never less
        than our own schedule, which grows while it throttles everything."""
        self._in_a_row += 1
        wait = max(throttle_backoff(self._in_a_row, self._rng), retry_after or 0.0)
        now = self._throttled_at = self._clock()
        self._revocation_at = now + MAX_REVOCATION_INTERVAL_SECONDS
        self._not_before = max(self._not_before, now + wait)
        return wait

    def record_started(self) -> None:
        """A call has started: within a wait, the next one of a revocation keeps its distance."""
        now = self._clock()
        if self._not_before > now:
            self._revocation_at = now + MAX_REVOCATION_INTERVAL_SECONDS

    def record_answered(self, started_at: float) -> None:
        """A call that started after the last throttling was answered: the wait is over."""
        if started_at >= self._throttled_at:
            self._in_a_row = 0
            self._not_before = float("-inf")
