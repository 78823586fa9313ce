"""The wall clock in the unit of every record, and a clock that is never set."""

from __future__ import annotations

import time

MAX_CLOCK_LEAD_MICROS = 2_000_000
"""A time that is later than our clock by more than this is not believed: one of two clocks is, or was, fast."""

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's CLOCK_MONOTONIC does not advance while the machine sleeps."""


def now_micros() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1_000


def elapsed_micros() -> int:
    """Microseconds on a clock that is never set and, where the system has such a one, runs through sleep."""
    return time.clock_gettime_ns(_ELAPSED) // 1_000


def elapsed_seconds() -> float:
    """The same clock in seconds."""
    return time.clock_gettime(_ELAPSED)


def is_ahead(moment: int, *, clock: int) -> bool:
    """Whether a time is later than `clock`, in micros, by more than two clocks may differ."""
    return moment > clock + MAX_CLOCK_LEAD_MICROS
