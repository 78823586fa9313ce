"""An ingest that is alone under its name comes back by itself, whatever the broker believes; of two, one ends. # R43"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import CollectorRegistry

from consent_api.ingest.consumer_loop import CONSUMER, ConsumerLoop
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.positions import EndOffsets
from consent_api.ingest.record import Consumed
from consent_kafka import clients
from consent_kafka.errors import DuplicateInstanceIdError
from consent_kafka.instance_watch import InstanceWatch, find_holder
from consent_service.health import Health
from local_stack.processes.supervisor import Supervisor
from local_stack.servers import Servers
from tests.support.metric_values import value_of
from tests.support.waiting import until

INSTANCE = "one"


class Ingest:
    """A batch loop that only collects what it reads, in a thread, as the static member `one` of a group of its own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap = bootstrap
        self.group = self.topic = topic
        self.got: set[bytes | None] = set()
        self.ended: list[BaseException | None] = []
        self.metrics = IngestMetrics.on(CollectorRegistry())
        self.stop = threading.Event()

    def consumer(self) -> Consumer:
        return clients.consumer(self.bootstrap, self.group, group_instance_id=INSTANCE, **CONSUMER)

    def run(self) -> None:
        try:
            ConsumerLoop(
                name="inbound",
                topic=self.topic,
                open_consumer=self.consumer,
                handle=self._handle,
                transient={},
                health=Health(),
                metrics=self.metrics,
                instance=InstanceWatch(
                    instance_id=INSTANCE,
                    session_timeout=clients.SESSION_SECONDS,
                    look=partial(find_holder, self.bootstrap, self.group, INSTANCE),
                ),
                high_watermarks=EndOffsets(lambda: clients.admin(self.bootstrap, {"log_level": 2})),
            ).run(self.stop)
        except BaseException as error:
            self.ended.append(error)
        else:
            self.ended.append(None)

    def reads(self, seconds: float = 60.0) -> None:
        """A record that is written now is read."""
        value = uuid4().hex.encode()
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(self.topic, value)
        until(lambda: producer.flush(1) == 0, seconds=seconds, what="the broker takes a record")
        until(lambda: value in self.got or self.ended, seconds=seconds, what="the record is read")
        assert not self.ended, self.ended

    def replaced(self) -> float:
        return value_of(self.metrics.retries.labels(self.topic, "fenced"))

    def _handle(self, records: Sequence[Consumed]) -> Sequence[Consumed]:
        self.got |= {each.value for each in records}
        return ()


@contextmanager
def running(bootstrap: str) -> Iterator[Ingest]:
    admin, topic = AdminClient({"bootstrap.servers": bootstrap}), f"membership-{uuid4().hex[:8]}"
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    ingest = Ingest(bootstrap, topic)
    thread = threading.Thread(target=ingest.run, daemon=True)
    thread.start()
    try:
        yield ingest
    finally:
        ingest.stop.set()
        thread.join(30)
        admin.delete_topics([topic])[topic].result()
    assert not thread.is_alive()


def test_members_without_a_process_are_waited_for(kafka: str) -> None:
    with running(kafka) as ingest:
        for times in (1, 2, 3):
            ingest.reads()
            ghost = ingest.consumer()
            ghost.subscribe([ingest.topic])
            until(partial(_has_replaced, ghost, ingest, times), seconds=60, what="the ghost takes the name")
            ghost.close()  # A static member does not leave.
        ingest.reads()


def _has_replaced(ghost: Consumer, ingest: Ingest, times: int) -> bool:
    ghost.poll(0.1)
    return ingest.replaced() >= times


def test_of_two_processes_under_one_name_one_ends_and_the_other_reads_on(kafka: str) -> None:
    with running(kafka) as ingest:
        ingest.reads()
        twin = Ingest(kafka, ingest.topic)
        thread = threading.Thread(target=twin.run, daemon=True)
        thread.start()
        until(lambda: ingest.ended or twin.ended, seconds=90, what="one ends")
        ended, other = (ingest, twin) if ingest.ended else (twin, ingest)
        assert isinstance(ended.ended[0], DuplicateInstanceIdError)
        assert "another process runs as one: member one-" in str(ended.ended[0])
        other.reads()
        twin.stop.set()
        thread.join(30)


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[tuple[str, Supervisor]]:
    """A broker that may be killed."""
    supervisor = Supervisor(tmp_path / "logs", report=print)
    servers = Servers(supervisor, tmp_path, environ={})
    try:
        servers.download()
        supervisor.begin_layer()
        servers.start_kafka()
        yield servers.addresses.kafka, supervisor
    finally:
        supervisor.stop_all()


def test_a_broker_that_is_killed_again_and_again_does_not_end_it(own_kafka: tuple[str, Supervisor]) -> None:
    bootstrap, supervisor = own_kafka
    with running(bootstrap) as ingest:
        for _ in range(4):
            ingest.reads()
            supervisor.restart("kafka")
        ingest.reads()
