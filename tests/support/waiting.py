"""Waiting for a state, with a deadline: for tests of processes and servers, which take the time that they take."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], seconds: float = 90.0, what: str = "", *, every: float = 0.05) -> Any:
    """What `condition` returns once it is true. AssertionError with `what` after `seconds`.

    Looks after `every` so many seconds, and after up to five times as many in a long wait: looking takes processor time
    from what is waited for.
    """
    deadline = time.monotonic() + seconds
    pause = every
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what or condition}"
        time.sleep(pause)
        pause = min(1.2 * pause, 5 * every)
    return value


async def until_async(
    condition: Callable[[], Any], seconds: float = 30.0, what: str = "", *, every: float = 0.01
) -> Any:
    """As `until`, on the event loop; `condition` may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what or condition}"
        await asyncio.sleep(every)
