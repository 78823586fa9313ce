"""Single entries on the list topics, and how far the lists are: what the merge would write."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from consent_contracts import Codec, Decision, Entry, Topics, suppression_datum
from consent_runtime import kafka
from consent_runtime.keyring import Keyring
from consent_state import RestoreFailed, TopicPartition, high_watermarks, topic_ids
from tests.bench.figures import Servers
from tests.bench.legacy import PARTITIONS, TENANT
from tests.bench.load import now
from tests.bench.polling import pause_until

RESOLVED_SECONDS = 1.0


class ListWriter:
    """Writes entries of one decision each, one after the other."""

    def __init__(self, servers: Servers, topics: Topics, keyring: Keyring) -> None:
        self._topics = topics
        self._keyring = keyring
        self._codec = Codec.connect(servers.registry, topics)
        self._producer: Any = kafka.producer(servers.kafka, linger_ms=1, compression_type="none")

    def decide(self, channel: str, address: str, purpose: str, status: str, *, bulk: bool = False) -> tuple[str, int]:
        """Write the entry with this decision alone; the address key, and when the decision was recorded (micros)."""
        key, recorded = self._keyring.address_key(TENANT, channel, address), now()
        entry = Entry(
            tenant=TENANT,
            channel=channel,
            address_key=key,
            sealed_address=self._keyring.seal(key, address),
            decisions=(
                Decision(
                    decision_id=str(uuid4()),
                    subject_ref=None,
                    purpose=purpose,
                    status=status,
                    effective_at=recorded,
                    recorded_at=recorded,
                    bulk=bulk,
                ),
            ),
        )
        topic = self._topics.suppression(channel)
        self._producer.produce(topic, self._codec.encode(topic, suppression_datum(entry, recorded)), key.encode())
        self._producer.poll(0)
        return key, recorded

    def withdraw_live(self, addresses: Sequence[str], purpose: str, *, rate: float) -> dict[str, int]:
        """By e-mail, `rate` a second; by address key, when it was recorded (micros)."""
        begin, recorded = time.monotonic(), {}
        for position, address in enumerate(addresses):
            pause_until(begin + position / rate)
            key, at = self.decide("email", address, purpose, "withdrawn")
            recorded[key] = at
        self.flush()
        return recorded

    def flush(self) -> None:
        if self._producer.flush(30):
            raise RuntimeError("Kafka did not take the entries")


class ResolvedWriter:
    """Says once a second in suppression.resolved.v1 that the lists are complete; a thread of its own."""

    def __init__(self, servers: Servers, topics: Topics) -> None:
        self._topics = topics
        self._codec = Codec.connect(servers.registry, topics)
        self._producer: Any = kafka.producer(servers.kafka)
        self._admin = kafka.admin(servers.kafka)
        self._lists = [topics.suppression(channel) for channel in topics.channels]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resolved", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._producer.flush(5)

    def _run(self) -> None:
        ids = topic_ids(self._admin, self._lists)
        while not self._stopping.wait(RESOLVED_SECONDS):
            try:
                self._publish(ids)
            except RestoreFailed:
                continue  # The broker was busy; a second later the next one follows.

    def _publish(self, ids: dict[str, str]) -> None:
        resolved = now()
        partitions = range(PARTITIONS)
        at = [TopicPartition(topic, each) for topic in self._lists for each in partitions]
        ends = high_watermarks(self._admin, at)
        for partition in partitions:
            datum: dict[str, Any] = {
                "partition": partition,
                "resolved_at": resolved,
                "bulk_resolved_at": resolved,
                "inbound_resolved_at": None,
                "loss": 0,
                "lists": [
                    {"topic": topic, "topic_id": ids[topic], "end_offset": ends[TopicPartition(topic, partition)]}
                    for topic in self._lists
                ],
                "inputs": [],
                "hole": None,
                "channel_holes": {},
                "written_at": resolved,
            }
            value = self._codec.encode(self._topics.resolved, datum)
            self._producer.produce(self._topics.resolved, value, str(partition).encode(), partition)
        self._producer.poll(0)
