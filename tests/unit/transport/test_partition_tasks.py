"""The partitions of several topics as one unit, without a broker: opened, resumed, reopened and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from consent_kafka.errors import PartitionStuckError
from consent_kafka.transport.api import Chunk, Ownership, StreamSpec
from consent_kafka.transport.membership import ConsumerGroupMetadata, Membership
from consent_kafka.transport.metrics import TransportMetrics
from consent_kafka.transport.partition_tasks import PartitionTasks
from consent_service.health import Health

LIVE, BULK = TP("live", 0), TP("bulk", 0)


@dataclass(frozen=True)
class Read:
    offset: int
    topic: str = "live"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Handler:
    def __init__(self, name: str, log: list[str], ownership: Ownership) -> None:
        self.name, self.log, self.ownership = name, log, ownership
        self.keep = False
        self.kept: list[Chunk] = []
        self.hangs = False

    async def process(self, chunk: Chunk) -> None:
        if self.keep:
            self.kept.append(chunk)
        else:
            chunk.acknowledge()

    async def close(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        self.log.append(f"close {self.name}")


class Bench:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.handlers: dict[TP, Handler] = {}
        self.starts: dict[TP, int] = {}
        self.failures: list[BaseException] = []
        self.health = Health()
        self.partition_tasks = PartitionTasks(
            StreamSpec(name="s", group="g", topics=("live", "bulk"), open=self.open),
            membership=Membership(session_timeout=6.0),
            max_outstanding=10,
            drain_timeout=0.05,
            close_timeout=0.2,
            stalled_after=60.0,
            health=self.health,
            metrics=TransportMetrics.on(CollectorRegistry()),
            failed=self.failures.append,
            ready_changed=lambda: None,
        )

    async def open(self, topic: str, partition: int, ownership: Ownership) -> Handler:
        tp = TP(topic, partition)
        self.log.append(f"open {topic}")
        if tp in self.starts:
            ownership.read_from(self.starts[tp])
        self.handlers[tp] = Handler(topic, self.log, ownership)
        return self.handlers[tp]

    async def assign(self, *tps: TP, generation: int = 1) -> None:
        self.partition_tasks.assign(tps, ConsumerGroupMetadata(generation=generation, member_id="m"))
        await settled()

    def deliver(self, tp: TP, first: int, count: int) -> None:
        task = self.partition_tasks.get(*tp)
        assert task is not None
        chunk = task.deliver([Read(first + index) for index in range(count)], first + count)
        assert chunk is not None
        task.enqueue(chunk)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    assert made.failures == []


async def settled() -> None:
    await asyncio.sleep(0.01)


async def test_a_member_with_one_of_the_two_topics_opens_nothing_and_names_what_is_missing(bench: Bench) -> None:
    await bench.assign(LIVE)
    assert bench.log == []
    assert bench.partition_tasks.ready == frozenset()
    ready, reasons = bench.health.readiness()
    assert not ready
    assert reasons == ["s: assigned live:0 without bulk:0: not opened"]
    await bench.assign(LIVE, BULK)
    assert sorted(bench.log) == ["open bulk", "open live"]
    assert bench.health.readiness() == (True, [])
    await bench.partition_tasks.close()


async def test_the_loss_of_one_topic_closes_the_other_as_well(bench: Bench) -> None:
    await bench.assign(LIVE, BULK)
    bench.log.clear()
    await bench.partition_tasks.suspend()
    await bench.assign(BULK, generation=2)
    assert sorted(bench.log) == ["close bulk", "close live"]
    assert bench.partition_tasks.ready == frozenset()


async def test_both_stay_open_over_a_rebalance_or_neither_does(bench: Bench) -> None:
    await bench.assign(LIVE, BULK)
    bench.log.clear()
    await bench.partition_tasks.suspend()
    await bench.assign(LIVE, BULK, generation=2)
    assert bench.log == []
    bench.handlers[BULK].keep = True
    bench.deliver(BULK, 0, 3)
    await settled()
    await bench.partition_tasks.suspend()
    await bench.assign(LIVE, BULK, generation=3)
    assert sorted(bench.log[:2]) == ["close bulk", "close live"]
    assert sorted(bench.log[2:]) == ["open bulk", "open live"]
    await bench.partition_tasks.close()


async def test_no_topic_is_closed_at_the_end_before_the_others_have_finished_their_work(bench: Bench) -> None:
    await bench.assign(LIVE, BULK)
    bench.log.clear()
    bench.handlers[LIVE].keep = True
    bench.deliver(LIVE, 0, 3)
    await settled()
    closing = asyncio.create_task(bench.partition_tasks.close())
    await settled()
    assert bench.log == []
    bench.handlers[LIVE].kept.pop().acknowledge()
    await closing
    assert sorted(bench.log) == ["close bulk", "close live"]
    assert bench.partition_tasks.committable() == {LIVE: 3}


async def test_a_handler_that_neither_finishes_nor_closes_keeps_no_other_open(bench: Bench) -> None:
    await bench.assign(LIVE, BULK)
    bench.log.clear()
    bench.handlers[BULK].keep = bench.handlers[BULK].hangs = True
    bench.deliver(BULK, 0, 3)
    await settled()
    closing = asyncio.create_task(bench.partition_tasks.close())
    await asyncio.sleep(0.1)  # Longer than a drain.
    assert bench.log == ["close live"]
    with pytest.raises(PartitionStuckError):
        await closing


async def test_a_handler_that_keeps_its_positions_is_read_from_them_after_a_rebalance_too(bench: Bench) -> None:
    bench.starts = {LIVE: 40}
    await bench.assign(LIVE, BULK)
    assert bench.partition_tasks.seeks == {LIVE: 40}
    bench.partition_tasks.seeks.clear()
    bench.deliver(LIVE, 40, 5)
    await settled()
    await bench.partition_tasks.suspend()
    await bench.assign(LIVE, BULK, generation=2)
    assert bench.partition_tasks.seeks == {LIVE: 45}
    await bench.partition_tasks.close()


async def test_reopening_closes_both_and_then_opens_both(bench: Bench) -> None:
    await bench.assign(LIVE, BULK)
    bench.log.clear()
    bench.starts = {LIVE: 7, BULK: 9}
    bench.handlers[LIVE].ownership.reopen()
    await settled()
    assert sorted(bench.log[:2]) == ["close bulk", "close live"]
    assert sorted(bench.log[2:]) == ["open bulk", "open live"]
    assert bench.partition_tasks.seeks == {LIVE: 7, BULK: 9}
    assert bench.partition_tasks.ready == {LIVE, BULK}
    await bench.partition_tasks.close()


async def test_records_below_what_was_read_open_the_partition_again(
    bench: Bench,
) -> None:
    """As where a topic is deleted and created again under a running consumer."""
    bench.starts = {LIVE: 35, BULK: 9}
    await bench.assign(LIVE, BULK)
    bench.deliver(LIVE, 35, 5)
    await settled()
    bench.log.clear()
    bench.starts = {LIVE: 0, BULK: 9}
    task = bench.partition_tasks.get(*LIVE)
    assert task is not None
    assert task.deliver([Read(0)], 1) is None
    await settled()
    assert sorted(bench.log[2:]) == ["open bulk", "open live"]
    assert bench.partition_tasks.seeks == {LIVE: 0, BULK: 9}
    bench.deliver(LIVE, 0, 1)
    await settled()
    await bench.partition_tasks.close()


async def test_nothing_is_reopened_while_the_group_rebalances(bench: Bench) -> None:
    await bench.assign(LIVE, BULK)
    bench.log.clear()
    await bench.partition_tasks.suspend()
    bench.handlers[LIVE].ownership.reopen()
    await settled()
    assert bench.log == []
    await bench.partition_tasks.close()
