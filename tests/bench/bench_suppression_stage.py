"""The merge stage against stock Faust and against a plain loop, doing the same work on the same changes in one run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from uuid import uuid4

from confluent_kafka.admin import AdminClient

from consent_contracts import Codec, Topics
from consent_kafka import clients, provisioning
from tests.bench.figures import Figure, Servers
from tests.bench.merge_subjects import Task

RECORDS = 40_000
STOCK_RECORDS = 8_000
ROUNDS = 3
START = 1_760_000_000_000_000


def changes(count: int) -> Iterator[dict[str, Any]]:
    """Three changes an address on average, in random order, a tenth of them repeated."""
    random, sent = Random(3), list[dict[str, Any]]()
    for number in range(count):
        if sent and random.random() < 0.1:
            yield random.choice(sent)
            continue
        person = random.randrange(max(1, count // 3))
        at = START + random.randrange(10**9)
        change = {
            "event_id": f"0198c0de-0000-7000-8000-{number:012d}",
            "tenant": "acme",
            "channel": ("sms", "email", "voice")[person % 3],
            "address_key": f"k1.{person:043d}",
            "sealed_address": b"s1:" + b"x" * 40,
            "subject_ref": f"customer-{person}",
            "purpose": random.choice(["newsletter", "survey", "*"]),
            "status": "withdrawn",
            "effective_at": at,
            "recorded_at": at,
            "expires_at": None,
            "decision_id": f"0198c0de-0000-7000-8000-{number:012d}",
            "source_system": "crm",
            "bulk": False,
        }
        if change["purpose"] != "*":
            change["status"] = random.choice(["given", "withdrawn"])
        sent.append(change)
        yield change


def measure(servers: Servers) -> list[Figure]:
    rates: dict[str, list[float]] = {"ours": [], "plain": [], "stock": []}
    for _ in range(ROUNDS):
        for subject, found in rates.items():
            found.append(run(servers, subject, STOCK_RECORDS if subject == "stock" else RECORDS))
    how = (
        f"{RECORDS} changes (stock: {STOCK_RECORDS}), 4 partitions, one process each, {ROUNDS} rounds in turns, median"
    )
    ours = rates["ours"]
    against = {name: median(a / b for a, b in zip(ours, rates[name], strict=True)) for name in ("stock", "plain")}
    return [
        Figure(name="merge stage vs stock Faust", value=against["stock"], unit="x", target=5.0, how=how),
        Figure(name="merge stage vs plain loop", value=against["plain"], unit="x", target=0.5, how=how),
        *(
            Figure(name=f"merge: {label}", value=median(rates[name]), unit="changes/s", how=how)
            for name, label in (("ours", "stage, fenced"), ("plain", "plain loop"), ("stock", "stock Faust"))
        ),
    ]


def run(servers: Servers, subject: str, records: int, *, profile: str = "") -> float:
    """Changes a second of one subject on topics of its own."""
    topics = Topics(prefix=f"b{uuid4().hex[:8]}.")
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics)
    codec = Codec.connect(servers.registry, topics)
    producer: Any = clients.producer(servers.kafka)
    for change in changes(records):
        producer.produce(topics.changes, codec.encode(topics.changes, change), change["address_key"].encode())
        producer.poll(0)
    producer.flush()
    with tempfile.TemporaryDirectory() as directory:
        task = Task(
            kafka=servers.kafka,
            registry=servers.registry,
            prefix=topics.prefix,
            records=records,
            directory=directory,
            profile=profile,
        )
        ended = subprocess.run(
            [sys.executable, "-m", "tests.bench.merge_subjects", subject, task.text()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    ours = [name for name in admin.list_topics(timeout=10).topics if name.startswith(topics.prefix)]
    for deleted in admin.delete_topics(ours).values():
        deleted.result()
    lines = [line for line in ended.stdout.splitlines() if line.startswith('{"per_second"')]
    if not lines:
        raise RuntimeError(f"{subject} came to no result: {ended.stderr[-2000:]}")
    return float(json.loads(lines[0])["per_second"])


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    for figure in measure(Servers(**given)):
        print(figure)
