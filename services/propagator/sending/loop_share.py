"""The outcomes of large calls are recorded in slices, one at a time in the process, with the loop free in between.

Recording a thousand outcomes keeps the event loop for a fifth of a second, and several destinations do so at once:
without a bound each turn of a live push would wait until they are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MAX_BULK_BATCH = 250
"""Pushes in a bulk call, and in a live one that is filled up: planning more would keep the loop for too long."""
PAUSE_SHARES = 1
"""How many times as long as a slice has taken the loop is free after it."""


class LoopShare:
    """`clock` gives monotonic seconds. One event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        """First come, first served: no destination's bulk starves another's."""

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[None]:
        """Around work for one slice, which must not wait for anything."""
        async with self._turn:
            began = self._clock()
            yield
            await asyncio.sleep(PAUSE_SHARES * (self._clock() - began))
