"""Between the transport's loop and the thread in which a partition's work is done."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from consent_runtime.dead_letters import DeadLetters
from consent_runtime.kafka import DeliveryFailed
from consent_runtime.transport import Chunk

from .errors import Stopped
from .partition import MergePartition
from .translation import Rejected

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
_MOST_TOGETHER = 1_000
"""Records in one transaction, unless a single chunk holds more."""
_SWEEP_SECONDS = 1.0
"""A permission that has ended is written about that much late."""


T = TypeVar("T")


class MergeHandler:
    """A transport's PartitionHandler. A chunk is acknowledged when its entries and dead letters are."""

    def __init__(
        self,
        merging: MergePartition,
        lane: Executor,
        dead_letters: DeadLetters,
        *,
        released: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`lane` has one thread, so a partition that comes back waits there until it was let go.

        `released` is called when nothing is held any more; `failed` with a bug.
        """
        self._merging = merging
        self._lane = lane
        self._dead_letters = dead_letters
        self._released = released
        self._failed = failed
        self._sweeping: asyncio.Task[None] | None = None
        self._waiting: deque[Chunk] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Recover, then watch for permissions that end. Cancelled: stops, lets go, and leaves nothing running."""
        try:
            await self._bury(await self._in_lane(self._merging.open))
        except BaseException:
            await self.close()
            raise
        self._sweeping = asyncio.create_task(self._sweep())

    async def process(self, chunk: Chunk) -> None:
        """Take the chunk up. Those that come while a transaction is under way share the next one."""
        self._waiting.append(chunk)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Waits in the lane behind what still runs there, which has been told to stop."""
        self._merging.stop()
        for task in filter(None, (self._sweeping, self._writing)):
            task.cancel()
        await self._in_lane(self._merging.close)
        self._released()

    async def _write(self) -> None:
        try:
            while self._waiting:
                chunks = list(_together(self._waiting))
                records = [record for chunk in chunks for record in chunk.records]
                await self._bury(await self._in_lane(partial(self._merging.merge, records)))
                for chunk in chunks:
                    chunk.acknowledge()
            self._writing = None
        except Stopped:
            return  # Not acknowledged: the next owner gets the chunks.
        except Exception as failure:
            self._failed(failure)

    async def _sweep(self) -> None:
        while True:
            try:
                if not await self._in_lane(self._merging.expire_permissions):
                    await asyncio.sleep(_SWEEP_SECONDS)
            except Stopped:
                return  # The next owner finds the same permissions ended.
            except Exception as failure:
                self._failed(failure)
                return

    async def _bury(self, rejected: Iterable[Rejected]) -> None:
        """Returns when the broker holds every one; waits while it is away."""
        for record, reason, error in rejected:
            while True:
                try:
                    await self._dead_letters.send(record, reason, error)
                except DeliveryFailed as failed:
                    if not failed.retriable:
                        raise
                    logger.warning("a dead letter is not taken: %s; trying again", failed.code)
                    await asyncio.sleep(_PAUSE_SECONDS)
                else:
                    break

    async def _in_lane(self, call: Callable[[], T]) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._lane, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._merging.stop()
            running.add_done_callback(_seen)
            raise


def _together(waiting: deque[Chunk]) -> Iterator[Chunk]:
    """Taken from the left: at least one, and no more than make a good transaction."""
    records = 0
    while waiting and (records == 0 or records + len(waiting[0].records) <= _MOST_TOGETHER):
        chunk = waiting.popleft()
        records += len(chunk.records)
        yield chunk


def _seen(abandoned: asyncio.Future[Any]) -> None:
    """A call that was told to stop ends with Stopped, which nobody waits for any more."""
    failure = None if abandoned.cancelled() else abandoned.exception()
    if failure is not None and not isinstance(failure, Stopped):
        logger.error("a cancelled call has failed", exc_info=failure)
