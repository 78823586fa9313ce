"""Delays between attempts, with jitter."""

from __future__ import annotations

import random

from consent_service.retry import Backoff
from propagator.timing import BACKOFF_SECONDS, FAILED_RECEIPT_SECONDS, THROTTLE_SECONDS

FAILURES_UNTIL_A_MINUTE = BACKOFF_SECONDS.index(FAILED_RECEIPT_SECONDS) + 1
"""The failure of an address after which it is tried again in minutes, then hours."""

_FIRST_MINUTE = Backoff(BACKOFF_SECONDS, jitter=1.0)
_LATER = Backoff(BACKOFF_SECONDS, jitter=0.5)
_THROTTLED = Backoff(THROTTLE_SECONDS, jitter=1.0)


def address_backoff(failures: int, rng: random.Random) -> float:
    """Seconds until an address that fails alone is tried again."""
    backoff = _FIRST_MINUTE if failures < FAILURES_UNTIL_A_MINUTE else _LATER
    return backoff.seconds(failures, rng)


def throttle_backoff(throttles: int, rng: random.Random) -> float:
    """Seconds until a destination that throttles without giving a time is called again."""
    return _THROTTLED.seconds(throttles, rng) + THROTTLE_SECONDS[0] / 2
