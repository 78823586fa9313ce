"""Whether a destination as a whole is being called (resilience4j: CircuitBreaker).

Closed: calls go as they come. After any failure it is half open: one call at a time goes, each after its delay, and one
more for a push that is new. After `opens_after` failures in a row it is open: the destination counts as down. An
acceptance of anything closes it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from consent_service.retry import Backoff
from propagator.timing import EARLY_PROBE_SECONDS, FIRST_PROBES_SECONDS, MAX_PROBE_SECONDS, PROBE_SECONDS

_PROBES = Backoff(PROBE_SECONDS, jitter=0.5)


class CircuitBreaker:
    """`clock` gives monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float], rng: random.Random, opens_after: int = 4) -> None:
        self._clock = clock
        self._rng = rng
        self._opens_after = opens_after
        self._failing_since = self._failed_at = self._not_before = float("-inf")
        self._early_probe_refused = False
        self._extra_probe_allowed = False
        self.failures = 0
        """In a row."""
        self.outages = 0
        """How many have ended so far."""

    @property
    def is_open(self) -> bool:
        return self.failures >= self._opens_after

    def seconds_until_permitted(self, in_flight: int) -> float | None:
        """Until a call may start; None: not before one in flight has ended."""
        if self.failures and in_flight > self._extra_probe_allowed:
            return None
        return max(0.0, self._not_before - self._clock())

    def record_failure(self, started_at: float) -> None:
        """A call failed. One that started before the last failure adds nothing."""
        if started_at < self._failed_at:
            return
        self._failed_at = self._clock()
        if not self.failures:
            self._failing_since = self._failed_at
        self.failures += 1
        self._extra_probe_allowed = False
        self._not_before = self._failed_at + self._pause()

    def force_open(self, started_at: float, seconds: float, *, early_probe: bool = False) -> None:
        """Open at once and probe only after `seconds`. `early_probe`: a new push may still be tried earlier."""
        self.record_failure(started_at)
        self.failures = max(self.failures, self._opens_after)
        self._not_before = self._clock() + seconds
        self._early_probe_refused = not early_probe

    def allow_early_probe(self) -> None:
        """A new push is there to try: it may show that one address alone fails. Probe soon, even beside another."""
        if self.failures and not self._early_probe_refused:
            self._extra_probe_allowed = True
            self._not_before = min(self._not_before, max(self._clock(), self._failed_at + EARLY_PROBE_SECONDS))

    def record_success(self) -> bool:
        """Whether this ends an outage."""
        ended = self.is_open
        self.outages += ended
        self.failures = 0
        self._not_before = float("-inf")
        self._early_probe_refused = self._extra_probe_allowed = False
        return ended

    def _pause(self) -> float:
        failing = self._failed_at - self._failing_since
        if failing < FIRST_PROBES_SECONDS:
            return _PROBES.seconds(self.failures, self._rng)
        return Backoff((min(MAX_PROBE_SECONDS, failing / 10),), jitter=0.5).seconds(1, self._rng)
