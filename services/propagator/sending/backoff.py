"""Delays between attempts, with jitter (AWS Architecture Blog, "Exponential Backoff And Jitter")."""

from __future__ import annotations

import random
from collections.abc import Sequence

from propagator.timing import BACKOFF_SECONDS, FAILED_RECEIPT_SECONDS, THROTTLE_SECONDS

FAILURES_UNTIL_A_MINUTE = BACKOFF_SECONDS.index(FAILED_RECEIPT_SECONDS) + 1
"""The failure of an address after which it is tried again in minutes, then hours."""


def full_jitter(schedule: Sequence[float], failures: int, rng: random.Random) -> float:
    """Seconds after so many failures (1 = the first): anything up to the schedule's step."""
    return rng.uniform(0.0, _step(schedule, failures))


def equal_jitter(schedule: Sequence[float], failures: int, rng: random.Random) -> float:
    """Seconds after so many failures (1 = the first): at least half of the schedule's step."""
    longest = _step(schedule, failures)
    return rng.uniform(longest / 2, longest)


def address_backoff(failures: int, rng: random.Random) -> float:
    """Seconds until an address that fails alone is tried again."""
    jitter = full_jitter if failures < FAILURES_UNTIL_A_MINUTE else equal_jitter
    return jitter(BACKOFF_SECONDS, failures, rng)


def throttle_backoff(throttles: int, rng: random.Random) -> float:
    """Seconds until a destination that throttles without giving a time is called again."""
    return full_jitter(THROTTLE_SECONDS, throttles, rng) + THROTTLE_SECONDS[0] / 2


def _step(schedule: Sequence[float], failures: int) -> float:
    return schedule[min(max(failures, 1), len(schedule)) - 1]
