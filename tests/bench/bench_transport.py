"""Our transport against a stock Faust agent: the same topic, handlers that do nothing, in turns."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from uuid import uuid4

from confluent_kafka.admin import AdminClient, NewTopic

from consent_kafka.clients import producer
from tests.bench.figures import Figure, Servers

ROUNDS = 3
CHUNKS_COUNT = 250_000
STOCK_COUNT = 25_000
RECORD_BYTES = 200
PARTITIONS = 4


def measure(servers: Servers) -> list[Figure]:
    topic = f"bench-transport-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
    try:
        _fill(servers.kafka, topic)
        pairs = [
            (
                _run("chunks", servers.kafka, topic, CHUNKS_COUNT, number),
                _run("stock", servers.kafka, topic, STOCK_COUNT, number),
            )
            for number in range(ROUNDS)
        ]
    finally:
        admin.delete_topics([topic])[topic].result()
    how = f"{RECORD_BYTES} B records, {PARTITIONS} partitions, no-op handlers, {ROUNDS} rounds in turns, median"
    return [
        Figure(
            name="transport vs a stock Faust agent",
            value=median(ours / theirs for ours, theirs in pairs),
            unit="x",
            target=10.0,
            how=how,
        ),
        Figure(name="transport", value=median(ours for ours, _ in pairs), unit="records/s", how=how),
        Figure(name="stock Faust agent", value=median(theirs for _, theirs in pairs), unit="records/s", how=how),
    ]


def _fill(bootstrap: str, topic: str) -> None:
    sender = producer(bootstrap)
    value = b"x" * RECORD_BYTES
    for number in range(CHUNKS_COUNT + 50_000):
        while True:
            try:
                sender.produce(topic, value, str(number).encode())
            except BufferError:
                sender.poll(0.1)
            else:
                break
        sender.poll(0)
    if sender.flush(60):
        raise RuntimeError("the topic could not be filled")


def _run(kind: str, bootstrap: str, topic: str, count: int, number: int) -> float:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.bench.transport_consumer",
            kind,
            bootstrap,
            topic,
            f"{topic}-{kind}-{number}",
            str(count),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return float(done.stdout.split()[-1])
