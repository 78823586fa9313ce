"""The outcomes of large calls are recorded in slices, one at a time in the process, with the loop free in between.

Recording a thousand outcomes keeps the event loop for a tenth of a second, and several destinations do so at once:
without a bound each turn of a live push would wait until they are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MAX_BULK_BATCH = 500
"""Pushes in a bulk call, and in a live one that is filled up, while calls are plentiful: planning more would keep the
loop for too long. Where calls are scarce each is filled, or a part of the limit would be left unused."""
LIVE_SECONDS = 1.0
"""After the last sign of a live push, in which bulk leaves it half of the loop."""


class LoopShare:
    """`clock` gives monotonic seconds. One event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        """First come, first served: no destination's bulk starves another's."""
        self._live_at = float("-inf")

    def note_live(self) -> None:
        """There is a live push to deliver."""
        self._live_at = self._clock()

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[None]:
        """Around work for one slice, which must not wait for anything."""
        async with self._turn:
            began = self._clock()
            yield
            now = self._clock()
            await asyncio.sleep(now - began if now - self._live_at < LIVE_SECONDS else 0)
