"""A storm of webhooks and the other ways in share one event loop: of each turn of it, the webhooks get a part."""

from __future__ import annotations

import asyncio
from collections import deque

MOST_IN_A_TURN = 8
"""Webhooks that go on in one turn of the loop, some 2 ms. Whatever else is ready runs before the next ones."""


class LoopTurns:
    """For one event loop. Costs no time while nothing else is ready: the loop then turns at once."""

    def __init__(self, most: int = MOST_IN_A_TURN) -> None:
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def wait(self) -> None:
        """Returns in a turn in which fewer than `most` others go on; in the order of the calls."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._next)
        await turn

    def _next(self) -> None:
        released = 0
        while self._waiting and released < self._most:
            turn = self._waiting.popleft()
            if not turn.done():  # The request of one that is was cancelled.
                turn.set_result(None)
                released += 1
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._next)
