"""The wall clock in the unit of every record."""

from __future__ import annotations

import time


def now_micros() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1_000
