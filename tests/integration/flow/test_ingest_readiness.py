"""Ingest says so when it is alive and records nothing, and only then. # R41"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, Producer
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from consent_api.ingest.consumer_loop import CONSUMER, ConsumerLoop
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.positions import EndOffsets
from consent_api.ingest.record import Consumed
from consent_kafka import clients
from consent_kafka.instance_watch import InstanceWatch
from consent_service.health import Health
from tests.integration.flow.rig import Rig, refusal
from tests.integration.proxy import Proxy
from tests.support.waiting import until

BOUND = 2.0


class Handled:
    """A consumer that does in its own thread what another asks of it, at its next poll."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.asked: list[Callable[[Consumer], object]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, seconds: float) -> Any:
        while self.asked:
            self.asked[0](self._consumer)
            self.asked.pop(0)
        return self._consumer.poll(seconds)


class Loop:
    """A batch loop over submissions that only collects them, and its consumer, to lay hands on."""

    def __init__(self, rig: Rig, kafka: str = "") -> None:
        self.health = Health()
        self.got: list[Consumed] = []
        self.gate = threading.Event()
        self.gate.set()
        self.topic = rig.topics.inbound
        self.group = f"readiness-{uuid4().hex}"
        self.consumer = Handled(clients.consumer(kafka or rig.kafka, self.group, **CONSUMER))
        self.batches = ConsumerLoop(
            name="inbound",
            topic=self.topic,
            open_consumer=lambda: self.consumer,  # type: ignore[arg-type,return-value]
            handle=self._handle,
            transient={},
            health=self.health,
            metrics=IngestMetrics.on(CollectorRegistry()),
            instance=InstanceWatch(instance_id="", session_timeout=clients.SESSION_SECONDS, look=lambda: None),
            high_watermarks=EndOffsets(lambda: clients.admin(rig.kafka)),
            stalled_after=BOUND,
        )

    def unready(self) -> list[str]:
        return self.health.readiness()[1]

    def ask(self, what: Callable[[Consumer], object]) -> None:
        self.consumer.asked.append(what)
        until(lambda: not self.consumer.asked)

    def _handle(self, records: Sequence[Consumed]) -> Sequence[Consumed]:
        self.gate.wait()
        self.got += records
        return ()


@contextmanager
def running(rig: Rig, kafka: str = "") -> Iterator[Loop]:
    loop, stop = Loop(rig, kafka), threading.Event()
    thread = threading.Thread(target=loop.batches.run, args=(stop,))
    thread.start()
    try:
        until(lambda: loop.unready() == [])
        yield loop
    finally:
        loop.gate.set()
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def stays_ready(loop: Loop, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert loop.unready() == []
        time.sleep(0.1)


def test_a_partition_that_stays_paused_is_a_reason_until_it_is_read_again(rig: Rig) -> None:
    with running(rig) as loop:
        stays_ready(loop, 2 * BOUND)
        rig.submit([b"before"])
        until(lambda: len(loop.got) == 1)
        loop.ask(lambda consumer: consumer.pause(consumer.assignment()))
        stays_ready(loop, 2 * BOUND)
        rig.submit([b"one", b"two"])
        until(loop.unready, what="records that the loop does not read show")
        [reason] = loop.unready()
        assert reason.startswith(f"inbound: {loop.topic}:")
        assert "not read for " in reason
        loop.ask(lambda consumer: consumer.resume(consumer.assignment()))
        until(lambda: loop.unready() == [], what="it is ready again by itself")
        assert len(loop.got) == 3


def test_a_group_that_refuses_it_is_a_reason_until_it_does_not(rig: Rig) -> None:
    """While it was cut off, a consumer with another way of assigning partitions has taken its group."""
    with Proxy(rig.kafka, kafka=True) as cable, running(rig, cable.address) as loop:
        foreign = Consumer(
            {
                "bootstrap.servers": rig.kafka,
                "group.id": loop.group,
                "partition.assignment.strategy": "roundrobin",
                "auto.offset.reset": "latest",
            }
        )
        cable.freeze()
        foreign.subscribe([loop.topic])
        until(lambda: foreign.poll(0.1) is None and foreign.assignment(), seconds=60, what="the group is another's")
        cable.heal()
        until(lambda: "is no member of its group" in str(loop.unready()), seconds=60, what="that it is refused shows")
        foreign.close()
        until(lambda: loop.unready() == [], seconds=60, what="it is ready again by itself")
        rig.submit([b"after"])
        until(lambda: len(loop.got) == 1)


def test_the_marks_of_transactions_are_nothing_to_read(rig: Rig) -> None:
    with running(rig) as loop:
        producer = Producer({"bootstrap.servers": rig.kafka, "transactional.id": uuid4().hex})
        producer.init_transactions(10)
        for ending in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            producer.produce(loop.topic, b"x")
            producer.flush(10)
            ending(10)
        until(lambda: len(loop.got) == 1)
        stays_ready(loop, 2.5 * BOUND)


def test_records_that_an_open_transaction_hides_are_a_reason_until_it_ends(rig: Rig) -> None:
    with running(rig) as loop:
        producer = Producer({"bootstrap.servers": rig.kafka, "transactional.id": uuid4().hex})
        producer.init_transactions(10)
        producer.begin_transaction()
        producer.produce(loop.topic, b"foreign", partition=2)
        producer.flush(10)
        hidden = f"inbound: an open transaction on {loop.topic}/2 hides the records from offset 0 on"
        until(lambda: any(each.startswith(hidden) for each in loop.unready()), what="the transaction shows")
        producer.abort_transaction(10)
        until(lambda: loop.unready() == [], what="it is ready again by itself")


def test_a_batch_that_never_ends_is_named(rig: Rig) -> None:
    with running(rig) as loop:
        loop.health.stale_after = 1.0
        loop.gate.clear()
        rig.submit([b"one"])
        busy = f"busy with 1 records of {loop.topic}:"
        until(lambda: any(busy in each for each in loop.unready()), what="a batch that does not end shows")
        [reason] = loop.unready()
        assert reason.startswith("inbound: no sign of life for ")
        loop.gate.set()
        until(lambda: loop.unready() == [])


def test_a_database_that_hangs_is_a_reason_and_its_return_is_noticed(rig: Rig) -> None:
    with rig.ingest() as ingest:
        until(lambda: ingest.health.readiness() == (True, []))
        with rig.owner.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            connection.execute(text("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE"))
            rig.submit(rig.encoded([refusal()]))
            waits = re.compile(rf"inbound: {rig.topics.inbound}:\d:0 has waited for \d+ s")
            # Its loops may not have joined their groups when it was first looked at.
            until(
                lambda: any(waits.fullmatch(each) for each in ingest.health.readiness()[1]),
                what="no lock is waited for longer than 8 s",
            )
        until(lambda: ingest.health.readiness() == (True, []))
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 1)


def test_a_database_that_hangs_for_every_client_is_a_reason_too(rig: Rig) -> None:
    with rig.ingest() as ingest:
        until(lambda: ingest.health.readiness() == (True, []))
        with rig.owner.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            connection.execute(text("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE"))
            rig.submit(rig.encoded([refusal() for _ in range(100)]))
            until(lambda: "has waited for" in str(ingest.health.readiness()))
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 100)
        until(lambda: ingest.health.readiness() == (True, []))
