"""One installation on the real servers, and what the tests of the Kafka sides do with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from click.testing import CliRunner, Result
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, Engine, text

from consent_api.ingest.process import composed as ingest_loops
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.process import composed as relay_loops
from consent_api.runtime import Loop
from consent_api.settings import IngestSettings, OutboxRelaySettings
from consent_contracts.codec import Codec
from consent_contracts.partitioner import partition_of
from consent_contracts.topics import Topics
from consent_kafka import clients
from consent_service.cli import cli
from consent_service.clock import now_micros
from consent_service.health import Health
from consent_service.stall_timer import STALLED_SECONDS
from tests.support.evidence import EVIDENCE
from tests.support.recreated_topics import recreate

connected_codec = cache(Codec.connect)
"""By registry and topics: tests that wait for a state decode again and again."""
TENANT = "acme"
HEADERS = [["ce_specversion", "1.0"], ["ce_id", "0198f0f0-0000-7000-8000-000000000000"]]
FILLED = {
    lane: text(
        f"INSERT INTO {lane.outbox} (topic, partition, key, value, headers, created_at)"
        " SELECT :topic, p, convert_to('k' || i, 'UTF8'), decode(repeat(md5(i::text), 7), 'hex'),"
        " CAST(:headers AS json), (extract(epoch FROM clock_timestamp()) * 1e6)::bigint"
        " FROM unnest(CAST(:numbers AS int[]), CAST(:partitions AS int[])) AS t (i, p)"
    )
    for lane in Lane
}


def filling(topic: str, first: int, count: int, *, headers: str = "[]") -> dict[str, Any]:
    """The parameters of FILLED: rows with the keys k<first>, k<first + 1>, ... in their partitions."""
    numbers = range(first, first + count)
    partitions = [partition_of(f"k{number}".encode(), 4) for number in numbers]
    return {"topic": topic, "headers": headers, "numbers": list(numbers), "partitions": partitions}


def grant(**changes: Any) -> dict[str, Any]:
    """A ConsentSubmitted datum with all the evidence that a permission needs."""
    now = now_micros()
    return {
        "event_id": str(uuid4()),
        "tenant": TENANT,
        "channel": "sms",
        "purpose": "newsletter",
        "status": "given",
        "subject_ref": f"crm-{uuid4().hex[:10]}",
        "address": "+33639980001",
        "occurred_at": now - 1_000_000,
        "expires_at": now + 86_400_000_000,
        "evidence": dict(EVIDENCE),
        **changes,
    }


def refusal(**changes: Any) -> dict[str, Any]:
    """A ConsentSubmitted datum of a withdrawal, without evidence."""
    return grant(status="withdrawn", evidence=None, expires_at=None, **changes)


@dataclass(kw_only=True)
class Running:
    """Loops of a composed process in threads of this one."""

    health: Health
    registry: CollectorRegistry
    crashed: list[BaseException] = field(default_factory=list)

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        return 0.0 if value is None else value


@dataclass(frozen=True, kw_only=True)
class Rig:
    """`database` is the service's role, `owner` may do everything."""

    kafka: str
    registry: str
    database: URL
    owner: Engine
    topics: Topics
    keyring_file: Path
    state_dir: Path

    def elsewhere(self, **changes: Any) -> Rig:
        return replace(self, **changes)

    def settings(self) -> dict[str, Any]:
        return {
            "kafka": self.kafka,
            "registry": self.registry,
            "api_database": self.database.render_as_string(hide_password=False),
            "keyring_file": self.keyring_file,
            "topic_prefix": self.topics.prefix,
            "state_dir": self.state_dir,
            "metrics_port": 0,
        }

    def recreate(self, names: Sequence[str]) -> None:
        """Delete topics and create them again, empty."""
        recreate(kafka=self.kafka, registry=self.registry, topics=self.topics, names=names)

    def environment(self, **settings: Any) -> dict[str, str]:
        """The variables that have the settings, with these changes."""
        given = {**self.settings(), **settings}
        return {f"CONSENT_RELAY_{name.upper()}": str(each) for name, each in given.items()}

    def command(self, *words: str, **settings: Any) -> subprocess.Popen[str]:
        """`consent-relay <words>` as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "consent_service", *words],
            env={**os.environ, **self.environment(**settings)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *words: str, code: int = 0, **settings: Any) -> str:
        """What the command printed; it must end with `code`."""
        ended = self.invoke(*words, **settings)
        assert ended.exit_code == code, f"exit code {ended.exit_code}: {ended.output}"
        return ended.output

    def invoke(self, *words: str, **settings: Any) -> Result:
        """`consent-relay <words>` in this process, which spares a second of imports. Not for a service: it would
        configure the log."""
        ended = CliRunner().invoke(cli, words, env=self.environment(**settings))
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return ended

    def run_service(self, name: str, code: int, **settings: Any) -> str:
        """What a service printed that cannot start; it must end with `code`."""
        process = self.command(name, **settings)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"exit code {process.returncode}: {out}{err}"
        return f"{out}{err}"

    def relay(self, *, stalled_after: float = STALLED_SECONDS, **settings: Any) -> AbstractContextManager[Running]:
        return _threads(
            lambda registry, health: relay_loops(
                OutboxRelaySettings(**{**self.settings(), **settings}),
                registry=registry,
                health=health,
                stalled_after=stalled_after,
            )
        )

    def ingest(self, instance: str = "one", **settings: Any) -> AbstractContextManager[Running]:
        given = {**self.settings(), "instance_id": instance, **settings}
        return _threads(
            lambda registry, health: ingest_loops(IngestSettings(**given), registry=registry, health=health)
        )

    def fill(self, count: int, *, first: int = 1, lane: Lane = Lane.LIVE) -> set[bytes]:
        """Outbox rows as record() would leave them; their keys."""
        values = filling(lane.changes(self.topics), first, count, headers=json.dumps(HEADERS))
        with self.owner.begin() as connection:
            connection.execute(FILLED[lane], values)
        return {f"k{number}".encode() for number in range(first, first + count)}

    def ask(self, question: str, **values: Any) -> Any:
        """The one value that `question` answers."""
        with self.owner.connect() as connection:
            return connection.execute(text(question), values).scalar_one()

    def pending(self, lane: Lane = Lane.LIVE) -> int:
        return int(self.ask(f"SELECT count(*) FROM {lane.outbox}"))

    def cut_connections(self) -> int:
        """What a restarting PostgreSQL does to every client: ends every connection of the service's role."""
        with self.owner.begin() as connection:
            found = connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :role"),
                {"role": self.database.username},
            )
            return len(found.all())

    def submit(self, values: Sequence[bytes | None], *, topic: str | None = None) -> None:
        """Plain records from an upstream system, acknowledged."""
        producer = Producer({"bootstrap.servers": self.kafka, "message.max.bytes": 2_000_000})
        for number, value in enumerate(values):
            producer.produce(topic or self.topics.inbound, value, f"up-{number}".encode())
        assert producer.flush(20) == 0

    def delete_records(self, topic: str) -> None:
        """What retention does, to every record that is there now."""
        admin = AdminClient({"bootstrap.servers": self.kafka})
        places = [TopicPartition(topic, each, OFFSET_END) for each in admin.list_topics(topic).topics[topic].partitions]
        for deleted in admin.delete_records(places).values():
            deleted.result()

    def codec(self) -> Codec:
        return connected_codec(self.registry, self.topics)

    def encoded(self, data: Sequence[dict[str, Any]]) -> list[bytes | None]:
        codec = self.codec()
        return [codec.encode(self.topics.inbound, each) for each in data]

    def changes(self, lane: Lane = Lane.LIVE) -> list[Any]:
        """The records of the lane's changes topic that carry a decision."""
        return [each for each in self.records(lane.changes(self.topics)) if not self.is_resolved(each)]

    def resolved(self, lane: Lane = Lane.LIVE) -> list[tuple[int, int, dict[str, Any]]]:
        """(partition, offset, datum) of each ConsentResolved of the lane's changes topic, in their order."""
        codec, topic = self.codec(), lane.changes(self.topics)
        found = []
        for each in self.records(topic):
            if self.is_resolved(each):
                name, datum = codec.decode_record(topic, each.value())
                assert name == "ConsentResolved"
                found.append((each.partition(), each.offset(), datum))
        return found

    @staticmethod
    def is_resolved(record: Any) -> bool:
        return ("ce_type", b"relay.consent.v1.ConsentResolved") in (record.headers() or [])

    def records(self, topic: str) -> list[Any]:
        """Every committed record of a topic, as confluent_kafka's messages."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": uuid4().hex,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
            found, ends = [], 0
            while ends < len(partitions):
                message = consumer.poll(10)
                assert message is not None, "the broker does not answer"
                if message.error():
                    ends += 1
                else:
                    found.append(message)
            return found
        finally:
            consumer.close()

    def members(self, loop: str = "inbound") -> int:
        """How many consumers share the partitions of a loop's group."""
        group = self.topics.group(f"consent-api-{loop}")
        admin = AdminClient({"bootstrap.servers": self.kafka})
        found = admin.describe_consumer_groups([group])[group].result(timeout=10).members
        return sum(bool(each.assignment.topic_partitions) for each in found)

    def committed(self, loop: str = "inbound") -> int:
        """The sum of the committed offsets of a loop's group."""
        topics = {"inbound": self.topics.inbound, "inbound-bulk": self.topics.inbound_bulk}
        topic = topics.get(loop, self.topics.receipts)
        consumer = clients.consumer(self.kafka, self.topics.group(f"consent-api-{loop}"))
        try:
            places = consumer.committed([TopicPartition(topic, each) for each in range(4)], timeout=10)
            return sum(max(each.offset, 0) for each in places)
        finally:
            consumer.close()


Compose = Callable[[CollectorRegistry, Health], AbstractContextManager[dict[str, Loop]]]


@contextmanager
def _threads(compose: Compose) -> Iterator[Running]:
    running = Running(health=Health(), registry=CollectorRegistry())
    stop = threading.Event()

    def guarded(loop: Loop) -> None:
        try:
            loop(stop)
        except BaseException as error:
            running.crashed.append(error)

    with compose(running.registry, running.health) as loops:
        threads = [threading.Thread(target=guarded, args=(loop,), name=name) for name, loop in loops.items()]
        for thread in threads:
            thread.start()
        try:
            yield running
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
            assert not any(thread.is_alive() for thread in threads)
    assert not running.crashed, running.crashed
