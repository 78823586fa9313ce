"""How fast a destination is called: its token bucket, the delays between retries, and its breaker.

All three take `clock` (monotonic seconds) so that tests run them in virtual time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

RETRY_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Front-loaded: a revocation that met a hiccup is told within the second. Used while the address is not parked."""
PARKED_SECONDS = (60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
PROBE_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
THROTTLE_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Waits after a 429 that does not say how long."""


def delay(schedule: tuple[float, ...], failures: int, rng: random.Random) -> float:
    """Seconds to wait after this many failures (1 = the first), with full jitter."""
    longest = schedule[min(max(failures, 1), len(schedule)) - 1]
    return rng.uniform(0.0, longest)


class TokenBucket:
    """Calls a second, with a burst. `wait` is 0.0 when a call may go now."""

    def __init__(self, *, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = float(max(burst, 1))
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    def wait(self) -> float:
        self._refill()
        return 0.0 if self._tokens >= 1.0 - 1e-9 else (1.0 - self._tokens) / self._per_second

    @property
    def plentiful(self) -> bool:
        """Whether a call may be spent on a batch that is not full."""
        self._refill()
        return self._tokens >= max(1.0, self._burst / 2)

    def take(self) -> None:
        """Spend one call; only after `wait` answered 0.0."""
        self._tokens -= 1.0

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now


class Breaker:
    """Whether a destination as a whole is being called. A success anywhere closes it.

    After any failure one call at a time goes out, each after its delay; after `opens_after` in a row the
    breaker is open: the destination counts as down, and its consumption stops.
    """

    def __init__(self, *, clock: Callable[[], float], rng: random.Random, opens_after: int = 4) -> None:
        self._clock = clock
        self._rng = rng
        self._opens_after = opens_after
        self._failed_at = float("-inf")
        self._not_before = float("-inf")
        self._told_to_wait = False
        self.failures = 0
        self.outages = 0
        """How many times it has opened so far."""

    @property
    def open(self) -> bool:
        return self.failures >= self._opens_after

    def wait(self, in_flight: int) -> float | None:
        """Seconds until a call may go; None: not before the one in flight has landed."""
        if self.failures and in_flight:
            return None
        return max(0.0, self._not_before - self._clock())

    def failure(self, started_at: float) -> None:
        """A call failed. One that began before the last failure tells nothing new."""
        if started_at < self._failed_at:
            return
        self._failed_at = self._clock()
        self.failures += 1
        if self.failures == self._opens_after:
            self.outages += 1
        self._not_before = self._failed_at + delay(PROBE_SECONDS, self.failures, self._rng)

    def trip(self, started_at: float, seconds: float) -> None:
        """Open at once and probe only after `seconds`: a person has to act first."""
        self.failure(started_at)
        if not self.open:
            self.outages += 1
        self.failures = max(self.failures, self._opens_after)
        self._not_before = self._clock() + seconds
        self._told_to_wait = True

    def nudge(self) -> None:
        """Something new is there to try with: it may show that only one address fails. Probe soon."""
        if self.failures and not self._told_to_wait:
            self._not_before = min(self._not_before, max(self._clock(), self._failed_at + 1.0))

    def success(self) -> None:
        self.failures = 0
        self._not_before = float("-inf")
        self._told_to_wait = False
