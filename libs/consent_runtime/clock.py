"""The wall clock in the unit of every record, and the clock by which ages grow."""

from __future__ import annotations

import time

MAX_CLOCK_LEAD_MICROS = 2_000_000
"""A time that is later than our clock by more than this is not believed: one of two clocks is, or was, fast."""


def now_micros() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1_000


def elapsed_micros() -> int:
    """Microseconds on a clock that runs through sleep and is never set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


def elapsed_seconds() -> float:
    """The same clock in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_ahead(moment: int, *, clock: int) -> bool:
    """Whether a time is later than `clock`, in micros, by more than two clocks may differ."""
    return moment > clock + MAX_CLOCK_LEAD_MICROS
