"""One task for the two lanes of a partition: the transport opens each topic's partition by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from consent_kafka.transport import Ownership
from suppression.merge.lanes import Lane
from suppression.partition.handler import MergeTask

Open = Callable[[Mapping[Lane, Ownership]], Awaitable[MergeTask]]


class Opening:
    """Opens a task once every lane has joined. A lane that is cancelled ends it for the others too."""

    def __init__(self, open_task: Open) -> None:
        self._open_task = open_task
        self._ownerships: dict[Lane, Ownership] = {}
        self._complete = asyncio.Event()
        self._opened: asyncio.Task[MergeTask] | None = None
        self.ended = False
        """No lane may join any more."""

    async def join(self, lane: Lane, ownership: Ownership) -> MergeTask:
        """The open task. Cancelled: it is closed, or not opened at all."""
        self._ownerships[lane] = ownership
        if self._ownerships.keys() == set(Lane):
            self._opened = asyncio.create_task(self._open())
            self._complete.set()
            self.ended = True
        try:
            await self._complete.wait()
            assert self._opened is not None
            return await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            self.ended = True
            if self._opened is not None:
                await self._abandon(self._opened)
            raise

    async def _open(self) -> MergeTask:
        return await self._open_task(self._ownerships)

    async def _abandon(self, opened: asyncio.Task[MergeTask]) -> None:
        if not opened.cancelling():  # A second request would interrupt the closing that the first one began.
            opened.cancel()
        await asyncio.wait([opened])
        if not opened.cancelled() and opened.exception() is None:
            await opened.result().close()
