"""Between the loop and a partition's thread: what is acknowledged when, and what cancelling leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from consent_runtime.kafka import DeliveryFailed
from consent_runtime.transport import Chunk
from suppression.errors import Stopped
from suppression.handler import MergeHandler
from suppression.translation import Rejected


class FakeMerging:
    """Merges when it is let; stops when told."""

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []
        self.let = threading.Event()
        self.let.set()
        self.stopped = threading.Event()
        self.entered = threading.Event()
        self.calls: list[str] = []
        self.merged: list[int] = []
        self.swept: list[str] = []
        self.swept_five_times = threading.Event()
        self.sweep_failure: Exception | None = None

    def open(self) -> list[Rejected]:
        return self._work("open")

    def merge(self, records: Any) -> list[Rejected]:
        self.merged.append(len(records))
        return self._work("merge")

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
            raise Stopped("told to stop")
        return self.rejected


class FakeDeadLetters:
    def __init__(self) -> None:
        self.failures: list[DeliveryFailed] = []
        self.sent: list[str] = []

    async def send(self, record: Any, reason: str, error: str) -> None:
        if self.failures:
            raise self.failures.pop()
        self.sent.append(reason)


class Desk:
    def __init__(self) -> None:
        self.merging, self.dead_letters = FakeMerging(), FakeDeadLetters()
        self.acknowledged: list[Chunk] = []
        self.released = 0
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        self.lane = ThreadPoolExecutor(1)
        self.handler = MergeHandler(
            self.merging,  # type: ignore[arg-type]
            self.lane,
            self.dead_letters,  # type: ignore[arg-type]
            released=self._release,
            failed=self._fail,
        )
        self.chunk = self.make_chunk(1)

    def make_chunk(self, size: int) -> Chunk:
        record: Any = None
        return Chunk("changes", 0, [record] * size, self.acknowledged.append)

    def _fail(self, failure: BaseException) -> None:
        self.failures.append(failure)
        self.failed.set()

    def _release(self) -> None:
        self.released += 1


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.lane.shutdown()


async def test_chunk_is_acknowledged_after_its_dead_letters(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:  # R16
    monkeypatch.setattr("suppression.handler._PAUSE_SECONDS", 0.001)
    desk.merging.rejected = [Rejected(None, "not_framed", "")]
    desk.dead_letters.failures = [_away(), _away()]
    await desk.handler.process(desk.chunk)
    await _until(lambda: desk.acknowledged == [desk.chunk])
    assert desk.dead_letters.sent == ["not_framed"]


async def test_chunks_that_come_during_a_transaction_share_the_next(desk: Desk) -> None:
    desk.merging.let.clear()
    chunks = [desk.make_chunk(size) for size in (1, 2, 3, 998, 1_500, 1)]
    await desk.handler.process(chunks[0])
    assert await asyncio.to_thread(desk.merging.entered.wait, 10)
    for chunk in chunks[1:]:
        await desk.handler.process(chunk)
    assert desk.acknowledged == []
    desk.merging.let.set()
    await _until(lambda: desk.acknowledged == chunks)
    assert desk.merging.merged == [1, 5, 998, 1_500, 1]


async def test_abandoned_chunk_is_not_acknowledged(desk: Desk) -> None:
    desk.merging.stop()
    await desk.handler.process(desk.chunk)
    await _until(lambda: "abandoned" in desk.merging.calls)
    await desk.handler.close()
    assert desk.acknowledged == []


async def test_close_waits_for_what_it_has_told_to_stop(desk: Desk) -> None:
    desk.merging.let.clear()
    await desk.handler.process(desk.chunk)
    assert await asyncio.to_thread(desk.merging.entered.wait, 10)
    await desk.handler.process(desk.make_chunk(1))
    await desk.handler.close()
    assert desk.merging.calls == ["merge", "abandoned", "closed"]
    assert desk.acknowledged == []
    assert desk.released == 1


async def test_cancelled_recovery_leaves_nothing_running(desk: Desk) -> None:
    desk.merging.let.clear()
    opening = asyncio.create_task(desk.handler.open())
    assert await asyncio.to_thread(desk.merging.entered.wait, 10)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert desk.merging.calls == ["open", "abandoned", "closed"]
    assert desk.released == 1


async def test_ended_permissions_are_looked_for_again_and_again_until_closed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:  # R37
    monkeypatch.setattr("suppression.handler._SWEEP_SECONDS", 0.001)
    await desk.handler.open()
    assert await asyncio.to_thread(desk.merging.swept_five_times.wait, 10)
    await desk.handler.close()
    assert desk.merging.calls == ["open", "closed"]
    assert len(set(desk.merging.swept)) == 1  # in the partition's own thread
    swept = len(desk.merging.swept)
    await asyncio.sleep(0.02)
    assert len(desk.merging.swept) == swept


async def test_bug_between_two_chunks_is_reported(desk: Desk) -> None:
    bug = ValueError("a bug")
    desk.merging.sweep_failure = bug
    await desk.handler.open()
    await asyncio.wait_for(desk.failed.wait(), 10)
    assert desk.failures == [bug]
    await desk.handler.close()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def _away() -> DeliveryFailed:
    from confluent_kafka import KafkaError

    return DeliveryFailed(KafkaError(KafkaError._MSG_TIMED_OUT))
