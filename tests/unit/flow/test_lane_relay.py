"""One lane's loop over an outbox and a broker in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay import loop
from consent_api.outbox_relay.availability import PartitionAvailability
from consent_api.outbox_relay.loop import LaneRelay
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.outbox_table import Claim, Row
from consent_api.outbox_relay.publisher import Delivery
from consent_api.outbox_relay.timing import REFUSED_AGAIN_AFTER_SECONDS, UNREPLACEABLE_AGAIN_AFTER_SECONDS
from consent_service.health import Health
from consent_service.stall_timer import StallTimer

COUNT = 48


def row(number: int, value: bytes = b"") -> Row:
    return Row(id=number, topic="t", partition=number % COUNT, key=b"", value=value, headers=[])


class MemoryOutbox:
    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = {each.id: each for each in rows}

    @contextmanager
    def claim(self, limit: int, *, set_aside: Collection[int] = (), excluded: Sequence[int] = ()) -> Iterator[Claim]:
        rows = [each for each in self.rows.values() if each.partition not in set_aside and each.id not in excluded]
        claim = Claim(None, rows[:limit], "DELETE")  # type: ignore[arg-type]
        claim.delete = lambda ids: [self.rows.pop(each) for each in ids]  # type: ignore[method-assign,assignment]
        yield claim


class MemoryBroker:
    """Refuses rows of the value "large", and does not answer about denials while `silent`."""

    def __init__(self) -> None:
        self.silent = False
        self.denials = 0

    def publish(self, rows: Sequence[Row], *, beat: Callable[[], None], stop: Callable[[], bool]) -> Delivery:
        delivery = Delivery(cause="MSG_SIZE_TOO_LARGE", too_large=True)
        for each in rows:
            self.denials += each.value == b"denial"
            if each.value == b"large":
                delivery.refused.append(each)
            elif each.value == b"denial" and self.silent:
                delivery.failed.append(each)
            else:
                delivery.acknowledged.append(each)
        return delivery


class Rig:
    def __init__(self, rows: Sequence[Row], monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.now = time.monotonic()
        self.denial = b"denial"
        self.outbox, self.broker = MemoryOutbox(rows), MemoryBroker()
        metrics = RelayMetrics.on(CollectorRegistry())
        self.partitions = PartitionAvailability(topic="t", partitions=COUNT, unavailable=metrics.unavailable)
        arguments: dict[str, Any] = {
            "lane": Lane.LIVE,
            "outbox": self.outbox,
            "publisher": self.broker,
            "denial_of": lambda _, each: row(each.id, self.denial),
            "partitions": self.partitions,
            "metrics": metrics,
            "health": Health(),
            "progress": StallTimer(bound=60, clock=time.monotonic),
            **changes,
        }
        self.relay = LaneRelay(name="live-relay", scope=lambda: self.partitions.all, **arguments)
        self.retry = LaneRelay(name="live-retry", scope=self.partitions.next_unavailable, **arguments)
        self.monkeypatch = monkeypatch

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        now = self.now
        clock = SimpleNamespace(monotonic=lambda: now, perf_counter=time.perf_counter)
        self.monkeypatch.setattr(loop, "time", clock)


def test_a_denial_that_is_not_answered_is_tried_again_soon_and_holds_up_no_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig([row(number, b"large") for number in range(5)], monkeypatch)
    rig.broker.silent = True
    rig.pass_time(0)
    rig.relay.publish_batch(100, rig.partitions.all)
    assert rig.broker.denials == 1, "of one row alone"
    assert len(rig.outbox.rows) == 5
    rig.broker.silent = False
    rig.pass_time(REFUSED_AGAIN_AFTER_SECONDS + 0.1)
    rig.relay.publish_batch(100, rig.partitions.all)
    assert rig.outbox.rows == {}


def test_a_denial_that_is_refused_is_tried_again_late(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig([row(1, b"large")], monkeypatch)
    rig.denial = b"large"
    rig.pass_time(0)
    rig.relay.publish_batch(100, rig.partitions.all)
    rig.denial = b"denial"
    rig.pass_time(REFUSED_AGAIN_AFTER_SECONDS + 0.1)
    assert rig.relay.publish_batch(100, rig.partitions.all) == 0
    rig.pass_time(UNREPLACEABLE_AGAIN_AFTER_SECONDS)
    assert rig.relay.publish_batch(100, rig.partitions.all) == 1
    assert rig.outbox.rows == {}


def test_partitions_that_answer_again_come_back_one_after_the_other_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interval = loop.PollInterval(shortest=10, longest=10)
    rig = Rig([row(number) for number in range(COUNT)], monkeypatch, interval=interval)
    for _ in range(2):
        rig.partitions.failed(range(COUNT - 1), "timed out")
    assert rig.partitions.available() == {COUNT - 1}
    stop = threading.Event()
    thread = threading.Thread(target=rig.retry.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 60
    while rig.partitions.available() != rig.partitions.all and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join()
    assert rig.partitions.available() == rig.partitions.all


def pauses_of(relay: LaneRelay, outbox: MemoryOutbox) -> list[float]:
    """For how long it paused after each batch, until it found none."""
    pauses: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            if not outbox.rows:
                self.set()
            return self.is_set()

    relay.run(Stop())
    return pauses


def test_bulk_rests_as_long_as_its_batch_took_while_live_records_are_published(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Rig([row(1)], monkeypatch)
    assert not live.relay.is_busy
    live.relay.publish_batch(100, live.partitions.all)
    assert live.relay.is_busy

    bulk = Rig([row(number) for number in range(8)], monkeypatch, yields_to=live.relay, batch=2)
    publish = bulk.broker.publish

    def slowly(*arguments: Any, **named: Any) -> Delivery:
        time.sleep(0.02)
        return publish(*arguments, **named)

    bulk.broker.publish = slowly  # type: ignore[method-assign]
    resting = pauses_of(bulk.relay, bulk.outbox)
    assert len(resting) == 4
    assert min(resting) >= 0.02


def test_bulk_does_not_rest_while_no_live_row_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Rig([], monkeypatch)
    bulk = Rig([row(number) for number in range(8)], monkeypatch, yields_to=live.relay, batch=2)
    assert len(pauses_of(bulk.relay, bulk.outbox)) == 1, "after the batch that was not full"
