"""How fast a destination is called: its token bucket, the delays between retries, and its breaker.

All three take `clock` (monotonic seconds) so that tests run them in virtual time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

RETRY_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Front-loaded: a revocation that met a hiccup is told within the second. Used while the address is not parked."""
PARKED_SECONDS = (60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
PROBE_SECONDS = (0.0, 0.25, 0.5, 1.0, 1.5)
"""Between probes of a destination that fails, in its first minute: most outages are short, and whatever waited for the
end of one is told that much later."""
LONGEST_PROBE_SECONDS = 15.0
URGENT_SECONDS = 60.0
"""A revocation is tried at least this often, however long the destination wishes to be left alone."""
THROTTLE_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Waits after a 429 that does not say how long."""


def delay(schedule: tuple[float, ...], failures: int, rng: random.Random) -> float:
    """Seconds to wait after this many failures (1 = the first), with full jitter."""
    longest = schedule[min(max(failures, 1), len(schedule)) - 1]
    return rng.uniform(0.0, longest)


def parked_delay(rounds: int, rng: random.Random) -> float:
    """Seconds until a parked address is tried again: at least half of the schedule's step."""
    longest = PARKED_SECONDS[min(max(rounds, 1), len(PARKED_SECONDS)) - 1]
    return rng.uniform(longest / 2, longest)


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

    After any failure one call at a time goes out, each after its delay, and one more for what is new; after
    `opens_after` in a row the breaker is open: the destination counts as down, and its consumption stops.
    """

    def __init__(self, *, clock: Callable[[], float], rng: random.Random, opens_after: int = 4) -> None:
        self._clock = clock
        self._rng = rng
        self._opens_after = opens_after
        self._failing_since = float("-inf")
        self._failed_at = float("-inf")
        self._not_before = float("-inf")
        self._told_to_wait = False
        self._fresh = False
        self.failures = 0
        self.outages = 0
        """How many have ended so far."""

    @property
    def open(self) -> bool:
        return self.failures >= self._opens_after

    def wait(self, in_flight: int) -> float | None:
        """Seconds until a call may go; None: not before one in flight has landed."""
        if self.failures and in_flight > self._fresh:
            return None
        return max(0.0, self._not_before - self._clock())

    def failure(self, started_at: float) -> None:
        """A call failed. One that began before the last failure tells nothing new."""
        if started_at < self._failed_at:
            return
        self._failed_at = self._clock()
        if not self.failures:
            self._failing_since = self._failed_at
        self.failures += 1
        self._fresh = False
        self._not_before = self._failed_at + self._pause()

    def trip(self, started_at: float, seconds: float) -> None:
        """Open at once and probe only after `seconds`: a person has to act first."""
        self.failure(started_at)
        self.failures = max(self.failures, self._opens_after)
        self._not_before = self._clock() + seconds
        self._told_to_wait = True

    def nudge(self) -> None:
        """Something new is there to try with: it may show that only one address fails. Probe soon, even beside it."""
        if self.failures and not self._told_to_wait:
            self._fresh = True
            self._not_before = min(self._not_before, max(self._clock(), self._failed_at + 1.0))

    def success(self) -> bool:
        """Whether this ends an outage."""
        ended = self.open
        self.outages += ended
        self.failures = 0
        self._not_before = float("-inf")
        self._told_to_wait = self._fresh = False
        return ended

    def _pause(self) -> float:
        failing = self._failed_at - self._failing_since
        if failing < 60.0:
            longest = PROBE_SECONDS[min(self.failures, len(PROBE_SECONDS)) - 1]
        else:
            longest = min(LONGEST_PROBE_SECONDS, failing / 10)
        return self._rng.uniform(longest / 2, longest)
