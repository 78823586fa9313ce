"""Waiting for a state, with a deadline: for tests of processes and servers, which take the time that they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


def until(condition: Callable[[], Any], seconds: float = 90.0, what: str = "", *, every: float = 0.05) -> Any:
    """What `condition` returns once it is true. Fails with `what` after `seconds`; looks `every` so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what or condition}")
        time.sleep(every)
    return value
