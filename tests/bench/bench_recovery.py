"""From a start without local state to the first merged change, with a million entries in the topics."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from consent_contracts import AddressEntry, Codec, Decision, Topics, entry_to_avro
from consent_kafka import clients, provisioning
from consent_service.health import Health
from suppression.merge_stream import MergePartitionFactory
from suppression.metrics import MergeMetrics
from tests.bench.figures import Figure, Servers

ENTRIES = 1_000_000
PARTITIONS = 4
TRANSACTION = 20_000
START = 1_790_000_000_000_000


def _template(topics: Topics, codec: Codec) -> tuple[bytes, bytes]:
    """One encoded entry with three decisions, and the address key within it, to be replaced by others as long."""
    key = f"k1.{0:043d}"
    entry = AddressEntry(
        tenant="acme",
        channel="sms",
        address_key=key,
        sealed_address=b"s1:" + b"x" * 40,
        decisions=tuple(
            Decision(
                decision_id=f"0198c0de-0000-7000-8000-00000000000{n}",
                subject_ref="customer-4711",
                purpose=purpose,
                status=status,
                effective_at=START + n,
                recorded_at=START + n,
            )
            for n, (purpose, status) in enumerate((("*", "objected"), ("newsletter", "given"), ("survey", "withdrawn")))
        ),
    )
    return codec.encode(topics.suppression("sms"), entry_to_avro(entry, START)), key.encode()


def fill(servers: Servers, topics: Topics, codec: Codec, entries: int) -> None:
    """Write `entries` over all partitions of suppression.sms, in transactions, as the merge stage does."""
    value, placeholder = _template(topics, codec)
    topic = topics.suppression("sms")
    for partition in range(PARTITIONS):
        producer: Any = clients.transactional_producer(servers.kafka, topics.group(f"fill-{partition}"), linger_ms=50)
        producer.init_transactions(20)
        for first in range(partition, entries, PARTITIONS * TRANSACTION):
            producer.begin_transaction()
            for number in range(first, min(entries, first + PARTITIONS * TRANSACTION), PARTITIONS):
                key = b"k1.%043d" % number
                producer.produce(topic, value.replace(placeholder, key), key, partition)
                if number % 4096 == partition:
                    producer.poll(0)
            producer.commit_transaction(30)


async def recover(servers: Servers, topics: Topics, codec: Codec, directory: Path) -> float:
    """Seconds until all partitions are open, as after an assignment of all of them to one process."""
    stage = MergePartitionFactory(
        topics=topics,
        partitions=PARTITIONS,
        state_dir=directory,
        instance_id="bench",
        transaction_timeout=10,
        codec=codec,
        open_dead_letters=lambda: None,  # type: ignore[arg-type, return-value]  # there is nothing to bury
        metrics=MergeMetrics.on(CollectorRegistry()),
        health=Health(),
        bootstrap=servers.kafka,
    )
    began = time.perf_counter()
    stream = stage.stream()
    opened = await asyncio.gather(
        *(stream.open(topic, partition, _Owned()) for partition in range(PARTITIONS) for topic in stream.topics)
    )
    seconds = time.perf_counter() - began
    for handler in opened:
        await handler.close()
    stage.close()
    return seconds


class _Owned:
    def is_confirmed(self) -> bool:
        return True

    def read_from(self, offset: int) -> None:
        """No change is read here."""

    def reopen(self) -> None:
        raise RuntimeError("the topics have changed during the benchmark")


def measure(servers: Servers, entries: int = ENTRIES) -> list[Figure]:
    topics = Topics(prefix=f"b{uuid4().hex[:8]}.")
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics, partitions=PARTITIONS)
    codec = Codec.connect(servers.registry, topics)
    fill(servers, topics, codec, entries)
    with tempfile.TemporaryDirectory() as directory:
        cold = asyncio.run(recover(servers, topics, codec, Path(directory)))
        warm = asyncio.run(recover(servers, topics, codec, Path(directory)))
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for deleted in admin.delete_topics([spec.name for spec in topics.specs()]).values():
        deleted.result()
    how = f"{entries} entries of 3 decisions, {PARTITIONS} partitions, one process, topics already in the page cache"
    return [
        Figure(name="recovery without local state", value=cold, unit="s", target=15.0, at_most=True, how=how),
        Figure(name="recovery from the checkpoint", value=warm, unit="s", how=how),
    ]
