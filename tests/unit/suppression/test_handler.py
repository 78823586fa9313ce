"""Between the loop and a partition's thread: what is acknowledged when, and what cancelling leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from consent_runtime.kafka import DeliveryFailed
from consent_runtime.transport import Chunk
from suppression.errors import Abandoned
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

    def open(self) -> list[Rejected]:
        return self._work("open")

    def merge(self, records: Any) -> list[Rejected]:
        return self._work("merge")

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
            raise Abandoned("told to stop")
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
        self.lane = ThreadPoolExecutor(1)
        self.handler = MergeHandler(
            self.merging,  # type: ignore[arg-type]
            self.lane,
            self.dead_letters,  # type: ignore[arg-type]
            released=self._release,
        )
        self.chunk = Chunk("changes", 0, [], self.acknowledged.append)

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
    assert desk.dead_letters.sent == ["not_framed"]
    assert desk.acknowledged == [desk.chunk]


async def test_abandoned_chunk_is_not_acknowledged(desk: Desk) -> None:
    desk.merging.stop()
    await desk.handler.process(desk.chunk)
    assert desk.acknowledged == []


async def test_cancelled_work_is_told_to_stop_and_let_go_before_close_returns(desk: Desk) -> None:
    desk.merging.let.clear()
    working = asyncio.create_task(desk.handler.process(desk.chunk))
    assert await asyncio.to_thread(desk.merging.entered.wait, 10)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
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


def _away() -> DeliveryFailed:
    from confluent_kafka import KafkaError

    return DeliveryFailed(KafkaError(KafkaError._MSG_TIMED_OUT))
