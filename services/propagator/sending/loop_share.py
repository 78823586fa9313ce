"""Bulk takes at most half of the event loop's time, over all destinations of the process.

Planning a full bulk batch and recording its outcomes keep the loop for a tenth of a second each, and several
destinations do so at once: without a bound each turn of a live push would wait until they are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_PAUSE_SECONDS = 1.0
"""Of bulk at a time, so that it goes on however much it has used."""


class LoopShare:
    """`clock` gives monotonic seconds. One event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._paid_at = clock()
        """Until then the loop is live's: as long as bulk has kept it before."""

    def seconds_until_bulk(self) -> float:
        """0.0: bulk may work now."""
        return min(max(0.0, self._paid_at - self._clock()), MAX_PAUSE_SECONDS)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Around work for bulk that keeps the loop."""
        began = self._clock()
        try:
            yield
        finally:
            now = self._clock()
            # Live could not use the loop meanwhile, and gets as long again.
            self._paid_at = min(max(began, self._paid_at) + 2 * (now - began), now + MAX_PAUSE_SECONDS)

    async def pause(self) -> None:
        """Let live work have its share."""
        await asyncio.sleep(self.seconds_until_bulk())
