"""A consumer that librdkafka declares dead is replaced; two processes under one identity are not hidden by that."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from prometheus_client import CollectorRegistry

from consent_api.ingest.consumer_loop import ConsumerLoop
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.positions import Position, RecordedPositions
from consent_kafka.errors import DuplicateInstanceIdError
from consent_kafka.instance_watch import Holder, InstanceWatch
from consent_service.health import Health

TOPIC = "consent.inbound.v1"


def fenced() -> Any:
    return SimpleNamespace(error=lambda: KafkaError(KafkaError.FENCED_INSTANCE_ID))


def record(offset: int) -> Any:
    return SimpleNamespace(
        error=lambda: None,
        topic=lambda: TOPIC,
        partition=lambda: 0,
        offset=lambda: offset,
        timestamp=lambda: (0, 0),
        key=lambda: None,
        value=lambda: b"",
        headers=lambda: None,
    )


class Scripted:
    """A consumer that gives these messages, one a poll."""

    def __init__(self, *messages: Any) -> None:
        self._messages = list(messages)
        self.stored: list[int] = []
        self.closed = False

    def subscribe(self, *_: Any, **__: Any) -> None: ...

    def pause(self, partitions: list[Any]) -> None: ...

    def resume(self, partitions: list[Any]) -> None: ...

    def assignment(self) -> list[Any]:
        return []

    def position(self, partitions: list[Any]) -> list[Any]:
        return []

    def committed(self, partitions: list[TopicPartition], **_: Any) -> list[TopicPartition]:
        return partitions

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 100

    def poll(self, _: float) -> Any:
        return self._messages.pop(0) if self._messages else None

    def consume(self, *_: Any) -> list[Any]:
        return []

    def store_offsets(self, *, offsets: list[Any]) -> None:
        self.stored += [each.offset for each in offsets]

    def close(self) -> None:
        self.closed = True


def watch(holder: Holder | None = None) -> InstanceWatch:
    """Each look sees `holder` (by default no member), ten seconds after the one before."""
    now = iter(range(0, 10_000, 10))
    seen = holder or Holder(member_id=None)
    return InstanceWatch(instance_id="one", session_timeout=8.0, look=lambda: seen, clock=lambda: next(now))


def loop(
    consumers: list[Scripted], stop: threading.Event, last: int, instance: InstanceWatch | None = None
) -> ConsumerLoop:
    """One that stops once it has handled the record at `last`."""
    left: list[Any] = list(consumers)

    def handle(records: Any) -> list[Any]:
        if records[-1].offset == last:
            stop.set()
        return []

    return ConsumerLoop(
        name="inbound",
        topic=TOPIC,
        open_consumer=lambda: left.pop(0),
        handle=handle,
        transient={},
        health=Health(),
        metrics=IngestMetrics.on(CollectorRegistry()),
        instance=instance or watch(),
        high_watermarks=lambda places: dict.fromkeys(places, 100),
    )


def test_a_fenced_consumer_is_replaced_and_goes_on() -> None:  # R43
    stop, first, second = threading.Event(), Scripted(record(0), fenced()), Scripted(record(1))
    loop([first, second], stop, last=1).run(stop)
    assert (first.stored, second.stored) == ([1], [2])
    assert first.closed
    assert second.closed


def test_one_that_is_fenced_again_and_again_goes_on_while_no_other_member_is_there() -> None:  # R43
    stop, last = threading.Event(), Scripted(record(1))
    loop([Scripted(fenced()), Scripted(record(0), fenced()), Scripted(fenced()), last], stop, last=1).run(stop)
    assert last.stored == [2]


def test_one_whose_identity_another_process_keeps_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent_api.ingest.consumer_loop.WATCH_SECONDS", 0.0)
    stop, other = threading.Event(), watch(Holder(member_id="one-7"))
    with pytest.raises(DuplicateInstanceIdError, match="one-7"):
        loop([Scripted(fenced()), Scripted(record(0), fenced())], stop, last=9, instance=other).run(stop)


class Rebalanced(Scripted):
    """As librdkafka does, it remembers a pause while the partition is another member's."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False
        self.assigned: list[Any] = []
        self._offset = 0
        self._released = False
        self._events = ["give", "lose", "give after the hold"]

    def subscribe(self, *_: Any, on_assign: Any, on_lost: Any, **__: Any) -> None:
        self._on_assign, self._on_lost = on_assign, on_lost

    def poll(self, _: float) -> Any:
        partition = TopicPartition(TOPIC, 0)
        event = self._events[0] if self._events else None
        if event == "give" or (event == "give after the hold" and self._released):
            self._events.pop(0)
            self._on_assign(self, [partition])
        elif event == "lose" and self.paused:
            self._events.pop(0)
            self.assigned = []
            self._on_lost(self, [partition])
        elif self.assigned and not self.paused:
            return record(self._offset)
        return None

    def assign(self, partitions: list[Any]) -> None:
        self.assigned = partitions

    def assignment(self) -> list[Any]:
        return self.assigned

    def pause(self, partitions: list[Any]) -> None:
        self.paused = self.paused or bool(partitions)

    def resume(self, partitions: list[Any]) -> None:
        self._released = self._released or not partitions
        self.paused = self.paused and not partitions


def test_a_partition_lost_while_the_batch_waited_is_read_again_when_it_comes_back() -> None:  # R43
    stop, consumer = threading.Event(), Rebalanced()
    tries = 0

    def handle(_: Any) -> list[Any]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise TimeoutError
        stop.set()
        return []

    giving_up = threading.Timer(20, stop.set)
    giving_up.start()
    ConsumerLoop(
        name="inbound",
        topic=TOPIC,
        open_consumer=lambda: consumer,  # type: ignore[arg-type,return-value]
        handle=handle,
        transient={TimeoutError: "database"},
        health=Health(),
        metrics=IngestMetrics.on(CollectorRegistry()),
        instance=watch(),
        high_watermarks=lambda places: dict.fromkeys(places, 100),
    ).run(stop)
    giving_up.cancel()
    assert tries == 2
    assert consumer.stored == [1]


def end_of_partition(offset: int) -> Any:
    error = KafkaError(KafkaError._PARTITION_EOF)
    return SimpleNamespace(error=lambda: error, topic=lambda: TOPIC, partition=lambda: 0, offset=lambda: offset)


def test_the_recorded_position_follows_what_was_handled_and_not_what_was_read() -> None:
    stop, positions, seen = threading.Event(), RecordedPositions(), []
    # The end comes while the record at 4 is not handled yet; the marker of a transaction lies at 5.
    consumer = Scripted(record(4), end_of_partition(6))

    def handle(_: Any) -> list[Any]:
        seen.append(positions.snapshot())
        if len(seen) == 1:
            raise TimeoutError
        return []

    giving_up = threading.Timer(20, stop.set)
    giving_up.start()
    thread = threading.Thread(
        target=ConsumerLoop(
            name="inbound",
            topic=TOPIC,
            open_consumer=lambda: consumer,  # type: ignore[arg-type,return-value]
            handle=handle,
            transient={TimeoutError: "database"},
            health=Health(),
            metrics=IngestMetrics.on(CollectorRegistry()),
            instance=watch(),
            high_watermarks=lambda places: dict.fromkeys(places, 100),
            positions=positions,
        ).run,
        args=(stop,),
    )
    thread.start()
    place = (TOPIC, 0)
    while not stop.is_set() and positions.snapshot().get(place) != Position(next_offset=6, append_time=0):
        time.sleep(0.01)
    assert not stop.is_set(), positions.snapshot()
    stop.set()
    thread.join(20)
    giving_up.cancel()
    assert seen == [{}, {}]


def test_what_is_left_comes_again_with_what_follows_and_no_offset_is_stored_beyond_it() -> None:
    stop, positions, health = threading.Event(), RecordedPositions(), Health()
    consumer = Scripted(record(0), record(1), record(2))
    batches: list[list[int]] = []
    unready: list[str] = []

    def handle(records: Any) -> list[Any]:
        batches.append([each.offset for each in records])
        if len(batches) == 2:
            assert positions.snapshot()[TOPIC, 0].next_offset == 1
        if len(batches) < 5:
            return [each for each in records if each.offset == 1]
        unready.extend(health.readiness()[1])
        stop.set()
        return []

    giving_up = threading.Timer(20, stop.set)
    giving_up.start()
    ConsumerLoop(
        name="inbound",
        topic=TOPIC,
        open_consumer=lambda: consumer,  # type: ignore[arg-type,return-value]
        handle=handle,
        transient={},
        health=health,
        metrics=IngestMetrics.on(CollectorRegistry()),
        instance=watch(),
        high_watermarks=lambda places: dict.fromkeys(places, 100),
        positions=positions,
        stalled_after=0.0,
    ).run(stop)
    giving_up.cancel()
    assert batches == [[0], [1], [1, 2], [1], [1]]
    assert consumer.stored == [1, 3]
    assert positions.snapshot()[TOPIC, 0].next_offset == 3
    assert unready == ["inbound: consent.inbound.v1:0:1 has waited for 0 s"]
