"""What the suppression topic already says beyond the entries that a partition's feed has been handed.

An old "yes" in a backlog (after an outage, an offset reset, a new destination) may have been taken back by a
newer entry further on. A second reader, always at the end of the topic, knows the newest offset of each
address; a permission is pushed only when it is that one. Only destinations that push permissions have one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)

FRESH_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """The last answer of a partition's leader. Its moment is taken once: the wall clock may be set back."""

    stamp: int
    """By the wall clock, in milliseconds: as aiokafka says it."""
    at: float
    """By the loop's clock."""


class Ahead:
    """One channel's topic, for one destination. `close` it in the loop that made it."""

    def __init__(self, *, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._newest: dict[int, dict[bytes, int]] = {}
        self._at_end: dict[int, float] = {}
        """When the broker last said that the reader stands at the end of the partition, by the loop's clock."""
        self._heard: dict[int, _Answer] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted: dict[int, tuple[int, int]] = {}
        """Partition to (first offset, how many times anything was followed by then)."""
        self._follows = 0
        self._changed = asyncio.Event()

    def follow(self, partition: int, offset: int) -> None:
        """Begin at `offset`: the first record the feed is handed."""
        self._newest[partition] = {}
        self._at_end.pop(partition, None)
        self._follows += 1
        self._wanted[partition] = (offset, self._follows)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"ahead {self._topic}")

    def leave(self, partition: int) -> None:
        for held in (self._newest, self._at_end, self._wanted):
            held.pop(partition, None)
        self._changed.set()

    def passed(self, partition: int, key: bytes, offset: int) -> None:
        """The feed has taken this entry: no need to remember it."""
        newest = self._newest.get(partition)
        if newest is not None and newest.get(key, offset + 1) <= offset:
            del newest[key]

    def is_newest(self, partition: int, key: bytes, offset: int) -> bool:
        """Whether nothing newer stands in the topic; False while that is not known."""
        at_end = self._at_end.get(partition)
        if at_end is None or asyncio.get_running_loop().time() - at_end > FRESH_SECONDS:
            return False
        return self._newest[partition].get(key, offset) <= offset

    def reads(self, partition: int) -> bool:
        """Whether the broker has answered for the partition lately: at its end, or on the way there."""
        heard = self._heard.get(partition)
        return heard is not None and asyncio.get_running_loop().time() - heard.at <= FRESH_SECONDS

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Reads for ever; while Kafka is away nothing is newest, and no permission goes out."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                fetch_max_wait_ms=500,
            )
            try:
                await consumer.start()
                await self._read(consumer)
            except (KafkaError, OSError) as error:
                log.warning("the reader ahead lost Kafka", extra={"topic": self._topic, "why": type(error).__name__})
                self._at_end.clear()
                await asyncio.sleep(1.0)
            finally:
                with contextlib.suppress(KafkaError, OSError):
                    await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        loop = asyncio.get_running_loop()
        followed: dict[int, tuple[int, int]] = {}
        heard = self._heard = {}
        while True:
            if followed != self._wanted:
                await self._reassign(consumer, followed)
                followed = dict(self._wanted)
            if not followed:
                self._changed.clear()
                await self._changed.wait()
                continue
            fetched = await consumer.getmany(timeout_ms=500, max_records=5000)
            for where, records in fetched.items():
                newest = self._newest.get(where.partition)
                if newest is not None and self._still(followed, where.partition):
                    for record in records:
                        newest[record.key or b""] = record.offset
            for partition in followed:
                where = TopicPartition(self._topic, partition)
                end = consumer.last_stable_offset(where)
                stamp = consumer.last_poll_timestamp(where)
                if end is None or stamp is None:
                    continue
                # A leader that is silent leaves the last end and position as they are: only its answers count.
                if partition not in heard or heard[partition].stamp != stamp:
                    age = max(0.0, time.time() - stamp / 1000)
                    heard[partition] = _Answer(stamp=stamp, at=loop.time() - age)
                if await consumer.position(where) >= end and self._still(followed, partition):
                    self._at_end[partition] = heard[partition].at

    def _still(self, followed: dict[int, tuple[int, int]], partition: int) -> bool:
        """Whether what was read is what is wanted: the partition may have been left, and followed anew from another
        offset, while it was being read."""
        return partition in followed and followed[partition] == self._wanted.get(partition)

    async def _reassign(self, consumer: AIOKafkaConsumer, followed: dict[int, tuple[int, int]]) -> None:
        positions = {
            partition: await consumer.position(TopicPartition(self._topic, partition))
            for partition, since in followed.items()
            if self._wanted.get(partition) == since
        }
        wanted = [TopicPartition(self._topic, partition) for partition in self._wanted]
        if wanted:
            consumer.assign(wanted)
        else:
            consumer.unsubscribe()
        for where in wanted:
            consumer.seek(where, positions.get(where.partition, self._wanted[where.partition][0]))
