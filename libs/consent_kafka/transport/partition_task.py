"""One partition, from its assignment to its loss: recover, process in order, finish or abandon, release."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from consent_kafka.errors import PartitionStuckError
from consent_kafka.stall_detector import StallDetector
from consent_kafka.transport.api import Chunk, PartitionHandler, Record, StreamSpec
from consent_kafka.transport.membership import ConsumerGroupMetadata, Membership
from consent_kafka.transport.offsets import OffsetTracker, Range


class PartitionOwnership:
    """The Ownership a task gives to its handler."""

    def __init__(self, membership: Membership, reopen: Callable[[], None] = lambda: None) -> None:
        self._membership = membership
        self._reopen = reopen
        self.held = False
        self.start: int | None = None
        """Where to begin instead of at the committed offset; None: the handler leaves that to the group."""

    def is_confirmed(self) -> bool:
        return self.held and self._membership.confirmed()

    def read_from(self, offset: int) -> None:
        self.start = offset

    def reopen(self) -> None:
        self._reopen()


class PartitionTask:
    """Owned by the loop's thread. `changed` is called whenever `accepts_records` may have changed."""

    def __init__(
        self,
        stream: StreamSpec,
        topic: str,
        partition: int,
        *,
        group_metadata: ConsumerGroupMetadata,
        membership: Membership,
        max_outstanding: int,
        drain_timeout: float,
        close_timeout: float,
        stalled_after: float,
        failed: Callable[[BaseException], None],
        changed: Callable[[], None],
        seek: Callable[[int], None] = lambda _offset: None,
        reopen: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seek` sets the consumer's position before the next fetch; `reopen` replaces this task by a new one."""
        self.topic = topic
        self.partition = partition
        self.group_metadata = group_metadata
        self.tracker = OffsetTracker()
        self.opened = False
        self._new_stall_detector = partial(StallDetector, topic, partition, bound=stalled_after, clock=clock)
        self._stall = self._new_stall_detector()
        self._stream = stream
        self._ownership = PartitionOwnership(membership, reopen)
        self._seek = seek
        self._max_outstanding = max_outstanding
        self._drain_timeout = drain_timeout
        self._close_timeout = close_timeout
        self._failed = failed
        self._changed = changed
        self._handler: PartitionHandler | None = None
        self._queue: asyncio.Queue[Chunk] = asyncio.Queue()
        self._ranges: dict[Chunk, Range] = {}
        self._with_handler: set[Chunk] = set()
        self._processing = False
        self._idle = asyncio.Event()
        self._accepting = False
        self.paused = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self, after: Iterable[asyncio.Task[None]] = ()) -> None:
        """Recover, then process; begins when `after` (the partition's previous partition_tasks closing) are done."""
        self._ownership.held = self._accepting = True
        self._task = asyncio.create_task(
            self._run(tuple(after)), name=f"{self._stream.name}-{self.topic}-{self.partition}"
        )

    @property
    def accepts_records(self) -> bool:
        return self.opened and self._accepting and not self.paused

    @property
    def is_suspended(self) -> bool:
        """Open, idle, without anything unacknowledged, and waiting to hear whether the partition stays."""
        return self.opened and not self._accepting and self._closing is None

    @property
    def stalled(self) -> str | None:
        """The reason on a health page while the partition makes no progress although nothing excuses it.

        It gets somewhere when its oldest chunk is acknowledged or beats, or when all that the broker has is done: what
        an open transaction hides is more.
        """
        if not self.opened:
            return None
        waiting = self.tracker.outstanding
        return self._stall.reason(f"{waiting} records unacknowledged, no progress" if waiting else "not read")

    def deliver(self, records: Sequence[Record], position: int) -> Chunk | None:
        """The chunk for `records`, or None when the partition is being given up (they will be read again)."""
        if not self._accepting or not self.opened:
            return None
        if self._ownership.start is not None and not self.tracker.follows(records[0].offset):
            # The topic was created again, or lost its end. The handler that is opened instead chooses where to begin.
            self._ownership.reopen()
            return None
        if not self.tracker.outstanding:
            self._stall.progressed()
        chunk = Chunk(self.topic, self.partition, records, self._acknowledge, self._beat)
        self._ranges[chunk] = self.tracker.deliver(records[0].offset, position, len(records))
        self._note_position()
        if self.tracker.outstanding >= self._max_outstanding and not self.paused:
            self.paused = True
            self._changed()
        return chunk

    def advance_to(self, position: int) -> None:
        if self._accepting and self.opened:
            self.tracker.advance_to(position)
            self._note_position()

    def observe_end(self, *, stable: int, end: int) -> None:
        """The partition's last stable offset and its high watermark, from one answer of the broker."""
        self._stall.end_offset(end, stable=stable)

    def enqueue(self, chunk: Chunk) -> None:
        if self._accepting and chunk in self._ranges:
            self._queue.put_nowait(chunk)

    async def drain(self) -> bool:
        """Stop feeding the handler and let it finish. False: it did not in time, or is not open."""
        self._accepting = False
        self._changed()
        while not self._queue.empty():
            self._queue.get_nowait()
        if not self.opened or self._closing is not None or self._task is None or self._task.done():
            return False
        try:
            await asyncio.wait_for(self._until_idle(), self._drain_timeout)
        except TimeoutError:
            return False
        return True

    async def suspend(self) -> None:
        """Drain. When that does not succeed, close."""
        if await self.drain():
            self._ownership.held = False
        else:
            await self.close()

    @property
    def accepting(self) -> bool:
        """Not being closed, and no rebalance is under way."""
        return self._accepting

    def resume(self, group_metadata: ConsumerGroupMetadata) -> None:
        """The partition has stayed ours: go on, from the committed offset or from the handler's own position."""
        self.group_metadata = group_metadata
        if self._ownership.start is not None:
            # The consumer is back at the group's offset, which may be higher than what this handler has read.
            self._ownership.start = self._ownership.start if self.tracker.safe is None else self.tracker.safe
            self._seek(self._ownership.start)
        self.tracker = OffsetTracker()
        self._stall = self._new_stall_detector()
        self._ranges.clear()
        self.paused = False
        self._ownership.held = self._accepting = True
        self._changed()

    async def close(self) -> None:
        """End the task. Raises PartitionStuckError when the handler does not let go."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    def closing(self) -> asyncio.Task[None]:
        """`close`, in the background."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _run(self, after: Sequence[asyncio.Task[None]]) -> None:
        try:
            for closing in after:
                await closing
            self._handler = await self._stream.open(self.topic, self.partition, self._ownership)
            if self._ownership.start is not None:
                self._seek(self._ownership.start)
            self.opened = True
            self._stall.progressed()
            self._changed()
            while True:
                chunk = await self._queue.get()
                self._processing = True
                self._with_handler.add(chunk)
                await self._handler.process(chunk)
                self._processing = False
                self._settle()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            self._accepting = False
            self._changed()
            self._failed(failure)
            raise

    def _acknowledge(self, chunk: Chunk) -> None:
        delivered = self._ranges.pop(chunk, None)
        if delivered is None:
            return
        self.tracker.acknowledge(delivered)
        self._note_position()
        self._with_handler.discard(chunk)
        self._settle()
        if self.paused and self.tracker.outstanding <= self._max_outstanding // 2:
            self.paused = False
            self._changed()

    def _beat(self, chunk: Chunk) -> None:
        delivered = self._ranges.get(chunk)
        if delivered is not None and delivered.first == self.tracker.safe:
            self._stall.progressed()

    def _note_position(self) -> None:
        if (safe := self.tracker.safe) is not None:
            self._stall.position(safe)

    def _settle(self) -> None:
        if not self._processing and not self._with_handler:
            self._idle.set()

    async def _until_idle(self) -> None:
        self._idle.clear()
        self._settle()
        await self._idle.wait()

    async def _close(self) -> None:
        self._accepting = False
        self._changed()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=self._close_timeout)
            if not done:
                raise PartitionStuckError(f"{self.topic}:{self.partition} did not stop processing")
            if not task.cancelled():
                task.exception()  # Reported by the task itself; asked for here so that asyncio does not warn.
        if self._handler is not None:
            try:
                await asyncio.wait_for(self._handler.close(), self._close_timeout)
            except TimeoutError as slow:
                raise PartitionStuckError(f"{self.topic}:{self.partition} did not close") from slow
        self._ownership.held = False
        self._ranges.clear()
