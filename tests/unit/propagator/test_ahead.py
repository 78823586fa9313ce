"""What the reader ahead may say of a partition that was left and followed anew while it was reading."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from propagator.ahead import Ahead
from tests.unit.propagator.harness import until

WHERE = TopicPartition("t", 0)


class Consumer:
    """Reads for as long as `reading` is not set; stands at the end from then on."""

    def __init__(self, records: list[Any]) -> None:
        self.reading = asyncio.Event()
        self._records = records
        self.sought: list[int] = []

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        await self.reading.wait()
        await asyncio.sleep(0.001)
        records, self._records = self._records, []
        return {WHERE: records} if records else {}

    def last_stable_offset(self, _where: TopicPartition) -> int:
        return 5

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
