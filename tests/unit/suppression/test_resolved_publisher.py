"""When a partition's state is published, and when its positions are compared with the topics."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry

from consent_kafka.errors import DeliveryFailedError
from consent_service.clock_check import ClockCheck
from consent_service.retry import Backoff
from consent_state import RestoreFailedError
from suppression.errors import TopicsChangedError
from suppression.merge.lanes import Lane
from suppression.metrics import MergeMetrics
from suppression.resolved.list_state import Facts, ListState, ResolvedMark
from suppression.resolved.publisher import ResolvedPublisher
from tests.unit.suppression.test_resolved import EMAIL, FACTS, NAMES, RECORDED, SMS, TOPICS

NOW = 5_000_000
AGE = "consent_relay_suppression_resolved_age_seconds"
HOLES = "consent_relay_suppression_holes"


class FakeTopic:
    def __init__(self) -> None:
        self.recorded: ListState | None = RECORDED
        self.written: list[ListState] = []
        self.failures: list[DeliveryFailedError] = []

    def last(self, stopping: threading.Event) -> ListState | None:
        return self.recorded

    async def write(self, state: ListState, now: int) -> int | None:
        if self.failures:
            raise self.failures.pop()
        self.written.append(state)
        return NOW


class Bench:
    def __init__(self) -> None:
        self.topic = FakeTopic()
        self.facts: list[Facts | Exception] = []
        self.asked = 0
        self.owned = True
        self.waited: list[str] = []
        self.registry = CollectorRegistry()
        self.clock_check = ClockCheck(clock=lambda: NOW + self.ahead)
        self.ahead = 0
        self.publisher = ResolvedPublisher(
            partition=3,
            list_topics=TOPICS,
            resolved_topic=self.topic,  # type: ignore[arg-type]
            ask_facts=self._ask,
            metrics=MergeMetrics.on(self.registry),
            owned=lambda: self.owned,
            clock=lambda: NOW,
            clock_check=self.clock_check,
        )

    async def begin(self) -> None:
        await self.publisher.begin(self.waited.append)

    async def advance(self, first: int, offset: int, *marks: ResolvedMark, **ends: int) -> None:
        await self.publisher.advance(
            Lane.LIVE, first, offset, marks, {NAMES.suppression(k): v for k, v in ends.items()}
        )

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"partition": "3", **labels})

    def _ask(self) -> Facts:
        self.asked += 1
        facts = self.facts.pop(0) if self.facts else FACTS
        if isinstance(facts, Exception):
            raise facts
        return facts


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in ("PUBLISH_SECONDS", "CHECK_SECONDS"):
        monkeypatch.setattr(f"suppression.resolved.publisher.{name}", 0.001)
    monkeypatch.setattr("suppression.resolved.publisher.BACKOFF", Backoff((0.001,)))
    return Bench()


async def running(loop: Callable[[], Any], until: Callable[[], bool]) -> None:
    """`loop` as a task until the condition holds."""
    task = asyncio.create_task(loop())
    try:
        async with asyncio.timeout(10):
            while not until():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    finally:
        task.cancel()


async def test_the_start_waits_for_a_broker_that_does_not_answer(bench: Bench) -> None:
    bench.facts = [RestoreFailedError("no answer"), FACTS]
    await bench.begin()
    assert bench.waited == ["comparing positions: no answer"]
    assert bench.publisher.position(Lane.LIVE) == 50


async def test_a_clock_that_differs_from_the_brokers_is_found_by_what_is_published(bench: Bench) -> None:  # R63
    await bench.begin()
    await running(bench.publisher.publish, lambda: len(bench.topic.written) == 1)
    assert bench.clock_check.readiness() is True
    bench.ahead = 3_600_000_000
    assert "s ahead of Kafka's" in str(bench.clock_check.readiness())
    bench.ahead = -3_600_000_000
    assert "s behind Kafka's" in str(bench.clock_check.readiness())


async def test_the_state_is_published_after_the_start_and_after_each_advance(bench: Bench) -> None:
    await bench.begin()
    await running(bench.publisher.publish, lambda: len(bench.topic.written) == 1)
    await bench.advance(50, 60, ResolvedMark(2_000, None, 2, None), sms=101)
    await running(bench.publisher.publish, lambda: len(bench.topic.written) == 2)
    state = bench.topic.written[-1]
    assert state.resolved_at[Lane.LIVE] == 2_000
    assert (state.lists[SMS].offset, state.lists[EMAIL].offset) == (101, 100)


async def test_several_advances_between_two_publications_share_one_record(bench: Bench) -> None:
    await bench.begin()
    for offset in range(51, 60):
        await bench.advance(offset - 1, offset)
    await running(bench.publisher.publish, lambda: len(bench.topic.written) == 1)
    assert bench.topic.written[0].inputs[NAMES.changes].offset == 59


async def test_nothing_is_published_while_the_partition_may_belong_to_another_worker(bench: Bench) -> None:
    bench.owned = False
    await bench.begin()
    task = asyncio.create_task(bench.publisher.publish())
    await asyncio.sleep(0.02)
    assert bench.topic.written == []
    bench.owned = True
    async with asyncio.timeout(10):
        while not bench.topic.written:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    task.cancel()


async def test_a_record_that_the_broker_did_not_take_is_written_again(bench: Bench) -> None:
    bench.topic.failures = [DeliveryFailedError(KafkaError(KafkaError._MSG_TIMED_OUT))]
    await bench.begin()
    await running(bench.publisher.publish, lambda: len(bench.topic.written) == 1)


async def test_records_that_follow_on_the_position_ask_the_broker_nothing(bench: Bench) -> None:
    await bench.begin()
    await bench.advance(50, 60)
    assert bench.asked == 1


async def test_a_gap_of_transaction_markers_is_no_loss(bench: Bench) -> None:
    await bench.begin()
    bench.facts = [RestoreFailedError("no answer"), FACTS]
    await bench.advance(52, 60)
    assert bench.publisher.position(Lane.LIVE) == 60


async def test_records_deleted_before_they_were_read_open_the_partition_again(bench: Bench) -> None:
    await bench.begin()
    bench.facts = [replace(FACTS, lows={**FACTS.lows, NAMES.changes: 55})]
    with pytest.raises(TopicsChangedError):
        await bench.advance(55, 60)
    assert bench.publisher.position(Lane.LIVE) == 50


async def test_records_below_the_position_or_ends_below_known_ones_open_the_partition_again(bench: Bench) -> None:
    await bench.begin()
    with pytest.raises(TopicsChangedError):
        await bench.advance(0, 5)
    with pytest.raises(TopicsChangedError):
        await bench.advance(50, 60, sms=99)


async def test_the_watch_ends_when_a_topic_has_been_created_again(bench: Bench) -> None:
    await bench.begin()
    bench.facts = [FACTS, RestoreFailedError("no answer"), replace(FACTS, ids={**FACTS.ids, SMS: "another"})]
    with pytest.raises(TopicsChangedError, match="is another topic"):
        await asyncio.wait_for(bench.publisher.watch(), 10)


async def test_ages_and_holes_are_exported_only_while_they_are_known(bench: Bench) -> None:
    await bench.begin()
    assert bench.sample(AGE, lane="live") == (NOW - 1_000) / 1e6
    assert bench.sample(AGE, lane="inbound_live") is None
    await bench.advance(50, 51, ResolvedMark(NOW + 9, NOW - 2_000_000, 2, None))
    assert bench.sample(AGE, lane="live") == 0
    assert bench.sample(AGE, lane="inbound_live") == 2
    await bench.advance(51, 52, ResolvedMark(NOW, None, 3, None))
    assert bench.sample(HOLES, scope="all") == 1
    assert bench.sample(AGE, lane="live") is None
    bench.publisher.close()
    assert bench.sample(HOLES, scope="all") is None
