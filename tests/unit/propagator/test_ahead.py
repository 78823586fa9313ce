"""What the reader ahead may say of a partition that was left and followed anew, or that comes again, or is silent."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from consent_runtime.transport.contract import Chunk
from propagator import ahead as module
from propagator.ahead import Ahead
from propagator.feed import Feed
from tests.unit.propagator.harness import TOPIC, Durable, FakeParking, LogRecord, Provider, Worker, until

WHERE = TopicPartition("t", 0)


class Consumer:
    """Reads for as long as `reading` is not set; stands at the end from then on."""

    def __init__(self, records: list[Any]) -> None:
        self.reading = asyncio.Event()
        self._records = records
        self.sought: list[int] = []
        self.answered_at: int | None = None
        """None: with every reading."""

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        await self.reading.wait()
        await asyncio.sleep(0.001)
        records, self._records = self._records, []
        return {WHERE: records} if records else {}

    def last_stable_offset(self, _where: TopicPartition) -> int:
        return 5

    def last_poll_timestamp(self, _where: TopicPartition) -> int:
        return int(time.time() * 1000) if self.answered_at is None else self.answered_at

    async def position(self, _where: TopicPartition) -> int:
        return 5

    def assign(self, _wanted: list[TopicPartition]) -> None: ...
    def unsubscribe(self) -> None: ...

    def seek(self, _where: TopicPartition, offset: int) -> None:
        self.sought.append(offset)


async def test_a_partition_followed_anew_is_not_known_before_it_is_read_anew() -> None:
    ahead = Ahead(bootstrap="nowhere", topic="t")
    ahead._task = asyncio.create_task(asyncio.sleep(0))  # `follow` is not to start a real one
    consumer: Any = Consumer([SimpleNamespace(key=b"k", offset=4)])
    ahead.follow(0, 3)
    reader = asyncio.create_task(ahead._read(consumer))
    await asyncio.sleep(0.01)
    ahead.leave(0)
    ahead.follow(0, 1)
    consumer.reading.set()
    await asyncio.sleep(0)
    while 1 not in consumer.sought:
        assert not ahead.is_newest(0, b"k", 1), "the older reading says nothing about what stands from offset 1 on"
        await asyncio.sleep(0)
    await until(lambda: ahead.is_newest(0, b"other", 1), 5)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await ahead.close()


async def test_following_from_an_earlier_offset_begins_anew() -> None:
    ahead = Ahead(bootstrap="nowhere", topic="t")
    ahead._task = asyncio.create_task(asyncio.sleep(0))
    ahead.follow(0, 7)
    ahead._at_end[0] = asyncio.get_running_loop().time()
    assert ahead.is_newest(0, b"k", 7)
    ahead.follow(0, 3)
    assert not ahead.is_newest(0, b"k", 7)
    await ahead.close()


async def test_a_leader_that_is_silent_is_not_one_that_says_nothing_is_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """getmany gives nothing then, and the last end and position stay as they were."""
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.2)
    ahead = Ahead(bootstrap="nowhere", topic="t")
    ahead._task = asyncio.create_task(asyncio.sleep(0))
    consumer: Any = Consumer([])
    consumer.reading.set()
    ahead.follow(0, 3)
    reader = asyncio.create_task(ahead._read(consumer))
    await until(lambda: ahead.is_newest(0, b"k", 3), 5)
    consumer.answered_at = int(time.time() * 1000)
    await until(lambda: not ahead.is_newest(0, b"k", 3), 5)
    # Nor does a wall clock that is set back make it young again.
    monkeypatch.setattr(time, "time", lambda: 0.0)
    await asyncio.sleep(0.02)
    assert not ahead.is_newest(0, b"k", 3)
    monkeypatch.undo()
    consumer.answered_at = None
    await until(lambda: ahead.is_newest(0, b"k", 3), 5)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await ahead.close()


async def test_what_comes_again_is_read_ahead_again() -> None:
    """A rebalance whose commit failed: the feed had passed the newer entry, and the old "yes" comes once more."""
    ahead = Ahead(bootstrap="nowhere", topic="t")
    ahead._task = asyncio.create_task(asyncio.sleep(0))
    durable = Durable()
    worker = Worker(durable, Provider())
    room = replace(worker.feed._room, ahead=ahead)
    feed = Feed(room, TOPIC, 0, worker, FakeParking(durable), released=worker._released)
    no = [LogRecord(offset=number, key=b"h1.a", value=None) for number in range(30)]

    async def process(first: int, last: int) -> tuple[int, int]:
        await feed.process(Chunk(TOPIC, 0, no[first : last + 1], lambda _chunk: None))
        return ahead._wanted[0]

    assert await process(5, 15) == (5, 1)
    assert await process(16, 20) == (5, 1)
    ahead._at_end[0] = asyncio.get_running_loop().time()
    assert ahead.is_newest(0, b"h1.a", 10)
    assert await process(5, 12) == (5, 2)
    assert not ahead.is_newest(0, b"h1.a", 10), "what stands behind it was passed, and is to be read again"
    assert await process(13, 20) == (5, 2), "once is enough"
    assert await process(20, 25) == (20, 3)
    await feed.close()
    await ahead.close()
