"""Between the transport's loop and the thread in which a partition's work is done.

A partition number is one task: both changes topics, one fenced writer. The transport opens it once it has the partition
of both topics, and closes it with the first that is lost.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from consent_kafka.dead_letters import AsyncDeadLetterProducer
from consent_kafka.errors import DeliveryFailedError
from consent_kafka.transport import Chunk
from consent_service.retry import Backoff, Failure, retry_async
from suppression.errors import StoppedError, TopicsChangedError
from suppression.merge.lanes import Lane, LaneQueues, Slice
from suppression.partition.merge_partition import MergePartition
from suppression.partition.serde import Rejected
from suppression.resolved.publisher import ResolvedPublisher

log = logging.getLogger(__name__)

BACKOFF = Backoff((1.0,))
EXPIRY_SECONDS = 1.0
"""The entry of a permission that has ended is written at most that much later."""


_LIVE_SECONDS = 5.0
"""The live lane counts as busy so long after its last transaction."""

T = TypeVar("T")


class MergeTask:
    """One partition of both lanes. A chunk is acknowledged when its entries and dead letters are."""

    def __init__(
        self,
        merging: MergePartition,
        resolved: ResolvedPublisher,
        executor: Executor,
        dead_letters: AsyncDeadLetterProducer,
        *,
        report: Callable[[bool | str], None],
        busy: Callable[[bool], None],
        on_closed: Callable[[], None],
        on_error: Callable[[BaseException], None],
        reopen: Callable[[], None],
        wait_for: Callable[[Awaitable[object], float], Awaitable[object]] = asyncio.wait_for,
    ) -> None:
        """`executor` has one thread, so a partition that comes back waits there until it was released.

        `report` takes the readiness while the partition opens, `busy` whether its thread has work. `on_closed` is
        called when nothing is held any more; `on_error` with a bug; `reopen` asks the transport to close this task and
        open another one. `wait_for` is asyncio's; tests give their own.
        """
        self._merging = merging
        self._resolved = resolved
        self._executor = executor
        self._dead_letters = dead_letters
        self._report = report
        self._busy = busy
        self._calls = 0
        self._on_closed = on_closed
        self._on_error = on_error
        self._reopen = reopen
        self._wait_for = wait_for
        self._queues = LaneQueues()
        self._live_arrived = asyncio.Event()
        self._live_merged_at = -math.inf
        self._background: list[asyncio.Task[None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Restore, find the positions, then publish and watch. Cancelled: stops, and leaves nothing running."""
        try:
            await self._send_to_dead_letters(await self._run_in_partition_thread(self._merging.open))
            if await self._resolved.begin(self._report):
                await self._send_to_dead_letters(await self._run_in_partition_thread(self._merging.restore_again))
            self._report(True)
        except BaseException:
            await self.close()
            raise
        loops = (self._expire_loop, self._resolved.publish, self._watch)
        self._background = [asyncio.create_task(self._guard(loop)) for loop in loops]

    def position(self, lane: Lane) -> int:
        """The offset to read first."""
        return self._resolved.position(lane)

    def add(self, lane: Lane, chunk: Chunk) -> None:
        """Take the chunk up. Those that come while a transaction is under way share a later one."""
        self._queues.add(lane, chunk)
        if lane is Lane.LIVE:
            self._live_arrived.set()
        if self._writing is None:
            self._writing = asyncio.create_task(self._guard(self._write))

    async def close(self) -> None:
        """Waits for what still runs in the partition's thread, which has been asked to stop. Both lanes call it."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._stop()
        for task in filter(None, (*self._background, self._writing)):
            task.cancel()
        await self._run_in_partition_thread(self._merging.close)
        self._resolved.close()
        self._on_closed()

    def _stop(self) -> None:
        self._merging.stop()
        self._resolved.stop()

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """`work` as a task that no caller awaits."""
        try:
            await work()
        except StoppedError:
            return  # What is not acknowledged goes to the next owner.
        except TopicsChangedError as error:
            self._open_again(error)
        except Exception as failure:
            self._on_error(failure)

    def _open_again(self, error: TopicsChangedError) -> None:
        log.error("the topics of a partition have changed; opening it again", extra={"error": str(error)})
        self._reopen()

    async def _watch(self) -> None:
        while True:  # Until this task is closed: nothing is opened again while the group rebalances.
            try:
                await self._resolved.watch()
            except TopicsChangedError as error:
                self._open_again(error)

    async def _write(self) -> None:
        while (part := self._queues.next()) is not None:
            began = time.monotonic()
            await self._merge(part)
            if part.lane is Lane.LIVE:
                self._live_merged_at = time.monotonic()
            elif began - self._live_merged_at < _LIVE_SECONDS:
                await self._rest(time.monotonic() - began)
        self._writing = None

    async def _rest(self, seconds: float) -> None:
        """After a bulk slice while people choose: its entries cost all readers of the list processor time, which live
        ones would have to wait for. Ends with the next live chunk."""
        if self._queues.is_waiting(Lane.LIVE):
            return
        self._live_arrived.clear()
        with suppress(TimeoutError):
            await self._wait_for(self._live_arrived.wait(), seconds)

    async def _merge(self, part: Slice) -> None:
        outcome = await self._run_in_partition_thread(partial(self._merging.merge, part.records, part.lane))
        await self._send_to_dead_letters(outcome.rejected)
        first, last = part.records[0].offset, part.records[-1].offset
        await self._resolved.advance(part.lane, first, last + 1, outcome.marks, outcome.ends)
        for chunk in part.completed:
            chunk.acknowledge()

    async def _expire_loop(self) -> None:
        while True:
            if not await self._run_in_partition_thread(self._merging.expire_permissions):
                await asyncio.sleep(EXPIRY_SECONDS)

    async def _send_to_dead_letters(self, rejected: Iterable[Rejected]) -> None:
        """Returns when the broker holds every one; waits while it is unavailable."""
        for record, reason, error in rejected:
            send = partial(self._dead_letters.send, record, reason, error)
            await retry_async(send, on=DeliveryFailedError, backoff=BACKOFF, report=_report_dead_letter)

    async def _run_in_partition_thread(self, call: Callable[[], T]) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._executor, call)
        self._calls += 1
        self._busy(True)
        running.add_done_callback(self._returned)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._stop()
            running.add_done_callback(_log_abandoned_failure)
            raise

    def _returned(self, _: asyncio.Future[Any]) -> None:
        self._calls -= 1
        self._busy(self._calls > 0)


def _report_dead_letter(failure: Failure[DeliveryFailedError]) -> None:
    if not failure.error.retriable:
        raise failure.error
    log.warning("a dead letter is not taken; trying again", extra={"code": failure.error.code})


class LaneHandler:
    """The transport's PartitionHandler of one lane."""

    def __init__(self, task: MergeTask, lane: Lane) -> None:
        self._task = task
        self._lane = lane

    async def process(self, chunk: Chunk) -> None:
        self._task.add(self._lane, chunk)

    async def close(self) -> None:
        await self._task.close()


def _log_abandoned_failure(abandoned: asyncio.Future[Any]) -> None:
    """A call that was asked to stop ends with StoppedError, which no caller awaits any more."""
    failure = None if abandoned.cancelled() else abandoned.exception()
    if failure is not None and not isinstance(failure, StoppedError):
        log.error("a cancelled call has failed", exc_info=failure)
