"""Waiting for a moment."""

from __future__ import annotations

import time


def pause_until(moment: float) -> None:
    """Sleep up to a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))
