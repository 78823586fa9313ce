"""Writes ListResolved records as the merge does: for tests and benchmarks of readers that have no merge.

`python -m tests.support.list_resolved KAFKA REGISTRY PREFIX CHANNELS` writes until it is ended.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaException

from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_kafka import clients
from consent_service.clock import now_micros
from consent_state import RestoreFailedError, TopicPartition, high_watermarks, topic_ids

PARTITIONS = 4


class ResolvedWriter:
    """States that the ledger is in the lists, up to their present ends."""

    def __init__(self, *, bootstrap: str, codec: Codec, topics: Topics) -> None:
        self._codec = codec
        self._topics = topics
        self._lists = [topics.suppression(channel) for channel in topics.channels]
        # As the merge does: not every client of strangers knows every codec.
        self._producer = clients.producer(bootstrap)
        self._admin = clients.admin(bootstrap)
        self.fields: dict[int, Mapping[str, Any]] = {}
        """By partition: fields of its records that differ from the usual ones."""

    def write(self, *partitions: int, **fields: Any) -> None:
        """A record for each of these partitions (all, if none is named), at the present ends of the lists.

        What an open transaction has written counts, as an entry that the merge writes after it does.
        """
        now = now_micros()
        ids = topic_ids(self._admin, self._lists)
        chosen = partitions or tuple(range(PARTITIONS))
        asked = [TopicPartition(topic, partition) for topic in self._lists for partition in chosen]
        ends = high_watermarks(self._admin, asked)
        for partition in chosen:
            datum = {
                "partition": partition,
                "resolved_at": now,
                "bulk_resolved_at": now,
                "inbound_resolved_at": None,
                "loss": 0,
                "lists": [
                    {"topic": topic, "topic_id": ids[topic], "end_offset": ends[TopicPartition(topic, partition)]}
                    for topic in self._lists
                ],
                "inputs": [],
                "hole": None,
                "channel_holes": {},
                "written_at": now,
                **self.fields.get(partition, {}),
                **fields,
            }
            value = self._codec.encode(self._topics.resolved, datum)
            self._producer.produce(self._topics.resolved, value, b"%d" % partition, partition)
        assert self._producer.flush(30) == 0

    @contextmanager
    def running(self, *, period: float = 0.2) -> Iterator[None]:
        """Writes every `period` seconds within the block, as a merge and a relay that work do."""
        stopping = threading.Event()

        def run() -> None:
            while not stopping.wait(period):
                try:
                    self.write()
                except (RestoreFailedError, KafkaException):
                    continue  # A topic that a test creates again, or has deleted.

        thread = threading.Thread(target=run, name="resolved-writer", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


if __name__ == "__main__":
    kafka_, registry, prefix, channels = sys.argv[1:]
    names = Topics(prefix=prefix, channels=tuple(channels.split(",")))
    with ResolvedWriter(bootstrap=kafka_, codec=Codec.connect(registry, names), topics=names).running():
        threading.Event().wait()
