"""What the merge stage's tests share: changes on the real topic, partitions opened by hand, entries read back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, TopicPartition
from prometheus_client import CollectorRegistry

from consent_contracts import AddressEntry, Codec, Topics, UnreadableError, entry_from_avro, verdicts_of
from consent_kafka import clients
from consent_service.clock import now_micros
from consent_service.health import Health
from consent_state import Compactor
from suppression.merge_stream import MergePartitionFactory
from suppression.metrics import MergeMetrics
from suppression.partition.merge_partition import MergePartition
from suppression.partition.serde import Rejected
from tests.support.metric_values import value_of
from tests.support.recreated_topics import recreate

SECOND = 1_000_000
NOW = 1_760_000_000 * SECOND


class Change(NamedTuple):
    """A record of consent.changes.v1 as the transport would hand it over."""

    key: bytes | None
    value: bytes | None
    topic: str = "changes"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


def datum(number: int, **fields: Any) -> dict[str, Any]:
    """A withdrawal of newsletter by SMS from subject `s<number>` at address `k1.<number>`."""
    at = NOW + number
    return {
        "event_id": f"e{number}",
        "tenant": "acme",
        "channel": "sms",
        "address_key": f"k1.{number}",
        "sealed_address": b"s1:sealed",
        "subject_ref": f"s{number}",
        "purpose": "newsletter",
        "status": "withdrawn",
        "effective_at": at,
        "recorded_at": at,
        "expires_at": None,
        "decision_id": f"d{number}",
        "source_system": None,
        "bulk": False,
        "rewrite": False,
        "erased_at": None,
        "remaining": [],
        **fields,
    }


@dataclass
class Rig:
    """One installation of the merge stage over real topics."""

    kafka: str
    registry_url: str
    topics: Topics
    state_dir: Path
    metrics: MergeMetrics = field(default_factory=lambda: MergeMetrics.on(CollectorRegistry()))
    compactor: Compactor | None = None

    def __post_init__(self) -> None:
        self.unrecognised_at_open: list[Rejected] = []
        self.reports: list[bool | str] = []
        self.codec = Codec.connect(self.registry_url, self.topics)

    def change(self, number: int, **fields: Any) -> Change:
        content = datum(number, **fields)
        return Change(content["address_key"].encode(), self.codec.encode(self.topics.changes, content))

    def stage(
        self, instance: str, *, transaction_timeout: float = 10.0, client_config: Mapping[str, Any] | None = None
    ) -> MergePartitionFactory:
        return MergePartitionFactory(
            topics=self.topics,
            partitions=4,
            state_dir=self.state_dir,
            instance_id=instance,
            transaction_timeout=transaction_timeout,
            codec=self.codec,
            open_dead_letters=_none_expected,
            metrics=self.metrics,
            health=Health(),
            bootstrap=self.kafka,
            client_config=client_config,
            compactor=self.compactor,
        )

    @contextmanager
    def partition(
        self,
        instance: str = "a",
        *,
        owned: Any = lambda: True,
        transaction_timeout: float = 10.0,
        clock: Callable[[], int] = now_micros,
        client_config: Mapping[str, Any] | None = None,
    ) -> Iterator[MergePartition]:
        """Partition 0, opened."""
        stage = self.stage(instance, transaction_timeout=transaction_timeout, client_config=client_config)
        merging = stage.partition(0, owned=owned, report=self.reports.append, clock=clock)
        try:
            self.unrecognised_at_open = merging.open()
            yield merging
        finally:
            merging.stop()
            merging.close()

    def entries(self, channel: str = "sms", *, passing_over_unreadable: bool = False) -> dict[str, AddressEntry]:
        """The newest committed entry by address key, of partition 0."""
        topic = self.topics.suppression(channel)
        found: dict[str, AddressEntry] = {}
        for key, value in self.records(channel):
            if value is None:
                found.pop(key, None)
                continue
            try:
                content = self.codec.decode(topic, value)
            except UnreadableError:
                if passing_over_unreadable:
                    continue
                raise
            assert verdicts_of(content)
            found[key] = entry_from_avro(content)
        return found

    def records(self, channel: str = "sms") -> list[tuple[str, bytes | None]]:
        """Every committed record of partition 0, in order."""
        reader: Any = clients.consumer(self.kafka, "reader", enable_partition_eof=True)
        reader.assign([TopicPartition(self.topics.suppression(channel), 0, 0)])
        records = []
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            message = reader.poll(1.0)
            if message is None:
                continue
            if message.error() is None:
                records.append((message.key().decode(), message.value()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                reader.close()
                return records
        raise AssertionError("no end of the partition within 30 s")

    def write_foreign(self, key: bytes, value: bytes | None, channel: str = "sms") -> None:
        """What another client could put on partition 0 of a suppression topic."""
        producer: Any = clients.producer(self.kafka)
        failures: list[Any] = []
        producer.produce(
            self.topics.suppression(channel), value, key, 0, on_delivery=lambda error, _: failures.append(error)
        )
        assert producer.flush(10) == 0
        assert failures == [None]

    def wipe(self, channel: str) -> None:
        """Delete a suppression topic and create it again, empty."""
        self.recreate(self.topics.suppression(channel))

    def recreate(self, topic: str) -> None:
        """Delete a topic and create it again, empty."""
        recreate(kafka=self.kafka, registry=self.registry_url, topics=self.topics, names=[topic])

    def counted(self, name: str, **labels: str) -> float:
        metric: Any = getattr(self.metrics, name)
        return value_of(metric.labels(**labels) if labels else metric)


def _none_expected() -> Any:
    raise AssertionError("no dead letters at this level")


def statuses(entries: Mapping[str, AddressEntry]) -> dict[str, list[str]]:
    return {key: [decision.status for decision in entry.decisions] for key, entry in entries.items()}


def in_thread(call: Any) -> tuple[threading.Thread, list[Any]]:
    """Run `call` in a thread; the list holds its result, or the exception it ended with."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome
