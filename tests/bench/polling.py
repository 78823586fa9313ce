"""Waiting for a condition, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], *, seconds: float, what: str, every: float = 0.2) -> None:
    """Raises TimeoutError, which names `what`, when it is not true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)


def pause_until(moment: float) -> None:
    """Sleep up to a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))
