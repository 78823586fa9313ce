"""Between the loop and a partition's thread: what is acknowledged when, and what cancelling leaves behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from consent_kafka.errors import DeliveryFailedError
from consent_kafka.transport import Chunk, Ownership
from consent_service.retry import Backoff
from suppression.errors import StoppedError, TopicsChangedError
from suppression.merge.lanes import Lane
from suppression.partition.handler import LaneHandler, MergeTask
from suppression.partition.merge_partition import MergeOutcome
from suppression.partition.opening import Opening
from suppression.partition.serde import Rejected
from suppression.resolved.list_state import ResolvedMark
from tests.support.waiting import until_async


class Read(NamedTuple):
    offset: int


class FakeMerging:
    """Merges when it is let; stops when asked."""

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []
        self.let = threading.Event()
        self.let.set()
        self.stopped = threading.Event()
        self.entered = threading.Event()
        self.calls: list[str] = []
        self.merged: list[tuple[Lane, int]] = []
        self.swept: list[str] = []
        self.swept_five_times = threading.Event()
        self.sweep_failure: Exception | None = None

    def open(self) -> list[Rejected]:
        return self._work("open")

    def restore_again(self) -> list[Rejected]:
        return self._work("restore again")

    def merge(self, records: Sequence[Read], lane: Lane) -> MergeOutcome:
        self.merged.append((lane, len(records)))
        return MergeOutcome(self._work("merge"), [ResolvedMark(len(records), None, 0, None)], {"list": 1})

    def expire_permissions(self) -> bool:
        self.swept.append(threading.current_thread().name)
        if len(self.swept) == 5:
            self.swept_five_times.set()
        if self.sweep_failure is not None:
            raise self.sweep_failure
        return False

    def stop(self) -> None:
        self.stopped.set()
        self.let.set()

    def close(self) -> None:
        self.calls.append("closed")

    def _work(self, what: str) -> list[Rejected]:
        self.calls.append(what)
        self.entered.set()
        assert self.let.wait(10)
        if self.stopped.is_set():
            self.calls.append("abandoned")
            raise StoppedError("stopped")
        return self.rejected


class FakeResolved:
    def __init__(self) -> None:
        self.lists_lost = False
        self.advanced: list[tuple[Lane, int, int]] = []
        self.failure: Exception | None = None
        self.changes: asyncio.Queue[Exception] = asyncio.Queue()
        self.closed = 0

    async def begin(self, waiting: Callable[[str], None]) -> bool:
        return self.lists_lost

    def position(self, lane: Lane) -> int:
        return {Lane.LIVE: 3, Lane.BULK: 5}[lane]

    async def advance(
        self, lane: Lane, first: int, offset: int, marks: Sequence[ResolvedMark], ends: Mapping[str, int]
    ) -> None:
        if self.failure is not None:
            raise self.failure
        assert [each.resolved_at for each in marks] == [offset - first]
        self.advanced.append((lane, first, offset))

    async def publish(self) -> None:
        await asyncio.Event().wait()

    async def watch(self) -> None:
        raise await self.changes.get()

    def stop(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


class FakeDeadLetters:
    def __init__(self) -> None:
        self.failures: list[DeliveryFailedError] = []
        self.sent: list[str] = []

    async def send(self, record: Any, reason: str, error: str) -> None:
        if self.failures:
            raise self.failures.pop()
        self.sent.append(reason)


class Bench:
    def __init__(self) -> None:
        self.merging, self.resolved, self.dead_letters = FakeMerging(), FakeResolved(), FakeDeadLetters()
        self.acknowledged: list[Chunk] = []
        self.closed = 0
        self.busy: list[bool] = []
        self.reopened = 0
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        self.executor = ThreadPoolExecutor(1)
        self.next_offset = dict.fromkeys(Lane, 0)
        self.rests: list[float] = []
        self.rest_seconds: float | None = None
        """How long a rest is; None: as the task asks."""
        self.task = MergeTask(
            self.merging,  # type: ignore[arg-type]
            self.resolved,  # type: ignore[arg-type]
            self.executor,
            self.dead_letters,  # type: ignore[arg-type]
            report=lambda _: None,
            busy=self.busy.append,
            on_closed=self._close,
            on_error=self._fail,
            reopen=self._reopen,
            wait_for=self._wait_for,
        )
        self.live, self.bulk = LaneHandler(self.task, Lane.LIVE), LaneHandler(self.task, Lane.BULK)

    def chunk(self, size: int, lane: Lane = Lane.LIVE) -> Chunk:
        first = self.next_offset[lane]
        self.next_offset[lane] += size
        return Chunk("changes", 0, [Read(first + index) for index in range(size)], self.acknowledged.append)

    def _fail(self, failure: BaseException) -> None:
        self.failures.append(failure)
        self.failed.set()

    def _close(self) -> None:
        self.closed += 1

    async def _wait_for(self, event: Awaitable[object], seconds: float) -> None:
        self.rests.append(seconds)
        await asyncio.wait_for(event, seconds if self.rest_seconds is None else self.rest_seconds)

    def _reopen(self) -> None:
        self.reopened += 1


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.executor.shutdown()


async def test_chunk_is_acknowledged_after_its_dead_letters(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:  # R16
    monkeypatch.setattr("suppression.partition.handler.BACKOFF", Backoff((0.001,)))
    bench.merging.rejected = [Rejected(None, "not_framed", "")]
    bench.dead_letters.failures = [_unavailable(), _unavailable()]
    chunk = bench.chunk(1)
    await bench.live.process(chunk)
    await until_async(lambda: bench.acknowledged == [chunk])
    assert bench.dead_letters.sent == ["not_framed"]


@pytest.mark.long
async def test_nothing_is_resolved_before_the_dead_letters_are_written(bench: Bench) -> None:
    bench.merging.rejected = [Rejected(None, "not_framed", "")]
    bench.dead_letters.failures = [_unavailable()]
    chunk = bench.chunk(1)
    await bench.live.process(chunk)
    await until_async(lambda: not bench.dead_letters.failures)
    assert bench.resolved.advanced == []
    await until_async(lambda: bench.acknowledged == [chunk])
    assert bench.resolved.advanced == [(Lane.LIVE, 0, 1)]


async def test_chunks_that_come_during_a_transaction_share_the_next(bench: Bench) -> None:
    bench.merging.let.clear()
    chunks = [bench.chunk(size) for size in (1, 2, 3, 998, 1_500, 1)]
    await bench.live.process(chunks[0])
    assert await asyncio.to_thread(bench.merging.entered.wait, 10)
    for chunk in chunks[1:]:
        await bench.live.process(chunk)
    assert bench.acknowledged == []
    bench.merging.let.set()
    await until_async(lambda: bench.acknowledged == chunks)
    assert bench.merging.merged == [(Lane.LIVE, size) for size in (1, 5, 998, 1_000, 501)]


async def test_a_live_chunk_waits_for_one_slice_of_a_bulk_chunk(bench: Bench) -> None:
    bench.merging.let.clear()
    bulk, live = bench.chunk(600, Lane.BULK), bench.chunk(1)
    await bench.bulk.process(bulk)
    assert await asyncio.to_thread(bench.merging.entered.wait, 10)
    await bench.live.process(live)
    bench.merging.let.set()
    await until_async(lambda: bench.acknowledged == [live, bulk])
    assert bench.merging.merged == [(Lane.BULK, 250), (Lane.LIVE, 1), (Lane.BULK, 250), (Lane.BULK, 100)]
    assert bench.resolved.advanced == [
        (Lane.BULK, 0, 250),
        (Lane.LIVE, 0, 1),
        (Lane.BULK, 250, 500),
        (Lane.BULK, 500, 600),
    ]


async def test_bulk_rests_as_long_as_a_slice_took_while_people_choose(bench: Bench) -> None:
    merge, bench.rest_seconds = bench.merging.merge, 0

    def slowly(records: Sequence[Read], lane: Lane) -> MergeOutcome:
        time.sleep(0.05)
        return merge(records, lane)

    bench.merging.merge = slowly  # type: ignore[method-assign]
    await bench.bulk.process(bench.chunk(500, Lane.BULK))
    await until_async(lambda: len(bench.acknowledged) == 1)
    assert bench.rests == [], "no live chunk waits"
    await bench.live.process(bench.chunk(1))
    await bench.bulk.process(bench.chunk(500, Lane.BULK))
    await until_async(lambda: len(bench.rests) == 2)
    assert min(bench.rests) >= 0.05


async def test_a_live_chunk_ends_the_rest(bench: Bench) -> None:
    bench.rest_seconds = 600
    before, bulk, live = bench.chunk(1), bench.chunk(500, Lane.BULK), bench.chunk(1)
    await bench.live.process(before)
    await bench.bulk.process(bulk)
    await until_async(lambda: len(bench.rests) == 1)
    await bench.live.process(live)
    await until_async(lambda: bench.acknowledged == [before, live, bulk])
    assert bench.merging.merged == [(Lane.LIVE, 1), (Lane.BULK, 250), (Lane.LIVE, 1), (Lane.BULK, 250)]
    await bench.live.close()


async def test_its_thread_is_watched_while_it_has_work(bench: Bench) -> None:  # R41
    await bench.task.open()
    assert bench.busy == [True, False]
    bench.merging.entered.clear()
    bench.merging.let.clear()
    await bench.live.process(bench.chunk(1))
    await asyncio.to_thread(bench.merging.entered.wait, 5)
    assert bench.busy[-1] is True
    bench.merging.let.set()
    await bench.task.close()
    assert bench.busy[-1] is False


async def test_abandoned_chunk_is_not_acknowledged(bench: Bench) -> None:
    bench.merging.stop()
    await bench.live.process(bench.chunk(1))
    await until_async(lambda: "abandoned" in bench.merging.calls)
    await bench.live.close()
    assert bench.acknowledged == []
    assert bench.resolved.advanced == []


async def test_both_lanes_close_the_task_once_after_what_was_asked_to_stop(bench: Bench) -> None:
    bench.merging.let.clear()
    await bench.live.process(bench.chunk(1))
    assert await asyncio.to_thread(bench.merging.entered.wait, 10)
    await bench.bulk.process(bench.chunk(1, Lane.BULK))
    await asyncio.gather(bench.live.close(), bench.bulk.close())
    assert bench.merging.calls == ["merge", "abandoned", "closed"]
    assert bench.acknowledged == []
    assert (bench.closed, bench.resolved.closed) == (1, 1)


async def test_cancelled_restore_leaves_nothing_running(bench: Bench) -> None:
    bench.merging.let.clear()
    opening = asyncio.create_task(bench.task.open())
    assert await asyncio.to_thread(bench.merging.entered.wait, 10)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert bench.merging.calls == ["open", "abandoned", "closed"]
    assert bench.closed == 1


async def test_ended_permissions_are_looked_for_again_and_again_until_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:  # R37
    monkeypatch.setattr("suppression.partition.handler.EXPIRY_SECONDS", 0.001)
    await bench.task.open()
    assert await asyncio.to_thread(bench.merging.swept_five_times.wait, 10)
    await bench.live.close()
    assert bench.merging.calls == ["open", "closed"]
    assert len(set(bench.merging.swept)) == 1  # in the partition's own thread
    swept = len(bench.merging.swept)
    await asyncio.sleep(0.02)
    assert len(bench.merging.swept) == swept


async def test_bug_between_two_chunks_is_reported(bench: Bench) -> None:
    bug = ValueError("a bug")
    bench.merging.sweep_failure = bug
    await bench.task.open()
    await asyncio.wait_for(bench.failed.wait(), 10)
    assert bench.failures == [bug]
    await bench.live.close()


async def test_changed_topics_open_the_partition_again_and_acknowledge_nothing(bench: Bench) -> None:
    bench.resolved.failure = TopicsChangedError("another topic")
    await bench.live.process(bench.chunk(1))
    await until_async(lambda: bench.reopened == 1)
    await bench.live.process(bench.chunk(1))
    await bench.live.close()
    assert bench.acknowledged == []
    assert bench.merging.merged == [(Lane.LIVE, 1)]
    assert bench.failures == []


async def test_topics_found_changed_between_chunks_are_reported_until_the_partition_is_opened_again(
    bench: Bench,
) -> None:
    await bench.task.open()
    for _ in range(2):  # the first request may come while the group rebalances, and then does nothing
        bench.resolved.changes.put_nowait(TopicsChangedError("another topic"))
    await until_async(lambda: bench.reopened == 2)
    await bench.live.close()


@pytest.mark.parametrize("lists_lost", [False, True])
async def test_the_state_is_restored_again_where_the_lists_have_lost_entries(bench: Bench, lists_lost: bool) -> None:
    bench.resolved.lists_lost = lists_lost
    await bench.task.open()
    assert bench.merging.calls == ["open", *(["restore again"] if lists_lost else [])]
    await bench.live.close()


class FakeOwnership:
    def is_confirmed(self) -> bool:
        return True

    def read_from(self, offset: int) -> None:
        # Joining asks only whether the ownership is fresh.
        raise NotImplementedError

    def reopen(self) -> None:
        # Joining never opens again here.
        raise NotImplementedError


async def test_a_task_is_opened_once_when_both_lanes_have_joined(bench: Bench) -> None:
    seen: list[set[Lane]] = []

    async def open_task(ownerships: Mapping[Lane, Ownership]) -> MergeTask:
        seen.append(set(ownerships))
        return bench.task

    opening = Opening(open_task)
    live = asyncio.create_task(opening.join(Lane.LIVE, FakeOwnership()))
    await asyncio.sleep(0)
    assert seen == []
    assert not opening.ended
    assert await opening.join(Lane.BULK, FakeOwnership()) is await live is bench.task
    assert seen == [set(Lane)]
    assert opening.ended


async def test_a_lane_that_is_cancelled_while_it_waits_ends_the_opening(bench: Bench) -> None:
    async def open_task(ownerships: Mapping[Lane, Ownership]) -> MergeTask:
        raise AssertionError("not complete")

    opening = Opening(open_task)
    live = asyncio.create_task(opening.join(Lane.LIVE, FakeOwnership()))
    await asyncio.sleep(0)
    live.cancel()
    with pytest.raises(asyncio.CancelledError):
        await live
    assert opening.ended


async def test_lanes_that_are_cancelled_during_the_opening_leave_nothing_running(bench: Bench) -> None:
    async def open_task(ownerships: Mapping[Lane, Ownership]) -> MergeTask:
        await bench.task.open()
        return bench.task

    bench.merging.let.clear()
    opening = Opening(open_task)
    lanes = [asyncio.create_task(opening.join(lane, FakeOwnership())) for lane in Lane]
    await until_async(bench.merging.entered.is_set)
    for lane in lanes:
        lane.cancel()
    await asyncio.wait(lanes)
    assert [lane.cancelled() for lane in lanes] == [True, True]
    assert bench.merging.calls == ["open", "abandoned", "closed"]
    assert bench.closed == 1


async def test_a_task_that_has_opened_when_its_lanes_are_cancelled_is_closed(bench: Bench) -> None:
    opened = asyncio.Event()

    async def open_task(ownerships: Mapping[Lane, Ownership]) -> MergeTask:
        opened.set()
        return bench.task

    opening = Opening(open_task)
    lanes = [asyncio.create_task(opening.join(lane, FakeOwnership())) for lane in Lane]
    while not opened.is_set():  # noqa: ASYNC110 - the very turn of the loop matters
        await asyncio.sleep(0)
    for lane in lanes:
        lane.cancel()
    await asyncio.wait(lanes)
    assert any(lane.cancelled() for lane in lanes)
    assert bench.closed == 1


def _unavailable() -> DeliveryFailedError:
    from confluent_kafka import KafkaError

    return DeliveryFailedError(KafkaError(KafkaError._MSG_TIMED_OUT))
