"""The merge at one, two and four processes, which divide four partitions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from consent_contracts import Topics
from consent_kafka import provisioning
from consent_privacy.keyring_file import generate
from local_stack.ports import free_port
from tests.bench.figures import Figure, Servers
from tests.bench.legacy import PARTITIONS, TENANT, LegacyTopics
from tests.bench.processes import Process
from tests.bench.scale_out import COUNTS, Run, observe, table
from tests.bench.system import delete_topics
from tests.support.waiting import until

RECORDS = 200_000
PURPOSE = "newsletter"
PATIENCE_SECONDS = 180.0


def measure(servers: Servers) -> list[Figure]:
    """Refusals in bulk, of one address each, from when Kafka has all of them."""
    runs = [_run(servers, count) for count in COUNTS]
    how = (
        f"merge: {RECORDS:,} refusals in bulk, each of another address, in {PARTITIONS} partitions; measured from when"
        " Kafka had all of them"
    )
    return list(table("merge", "changes", runs, how))


def _run(servers: Servers, count: int) -> Run:
    topics = Topics(prefix=f"b{uuid4().hex[:8]}.")
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics, partitions=PARTITIONS)
    try:
        with tempfile.TemporaryDirectory(prefix="consent-relay-bench-") as name:
            keyring = generate(Path(name) / "keyring.toml", [TENANT])
            with _merges(servers, topics, Path(name), count) as workers:
                return _drained(LegacyTopics(servers, topics, keyring), workers)
    finally:
        delete_topics(servers, topics)


def _drained(legacy: LegacyTopics, workers: list[Process]) -> Run:
    until(lambda: _partitions(workers) == PARTITIONS, seconds=PATIENCE_SECONDS, what="all partitions assigned")
    legacy.changes("email", range(RECORDS), PURPOSE)

    def ended(merged: float, seconds: float) -> bool:
        if seconds > PATIENCE_SECONDS:
            raise TimeoutError(f"{merged:,.0f} of {RECORDS:,} changes are merged; {workers[0].tail()}")
        return merged >= RECORDS

    return observe(workers, lambda: _merged(workers), until=ended)


@contextmanager
def _merges(servers: Servers, topics: Topics, directory: Path, count: int) -> Iterator[list[Process]]:
    """So many instances, each with at least one partition."""
    workers: list[Process] = []
    try:
        for number in range(count):
            instance = f"merge-{number}"
            environ = {
                "KAFKA": servers.kafka,
                "REGISTRY": servers.registry,
                "TOPIC_PREFIX": topics.prefix,
                "KEYRING_FILE": str(directory / "keyring.toml"),
                "STATE_DIR": str(directory / instance),
                "INSTANCE_ID": instance,
                "METRICS_PORT": str(free_port()),
            }
            settings = {f"CONSENT_RELAY_{name}": value for name, value in environ.items()}
            workers.append(Process("suppression", instance, settings, directory / f"{instance}.log"))
        for worker in workers:
            worker.until_ready()
        until(
            lambda: all(_partitions([worker]) for worker in workers),
            seconds=PATIENCE_SECONDS,
            what="each has a partition",
        )
        yield workers
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.stop()


def _partitions(workers: list[Process]) -> float:
    return sum(worker.metrics().total("consent_relay_suppression_partition_ready") for worker in workers)


def _merged(workers: list[Process]) -> float:
    labels = {"outcome": "merged"}
    return sum(worker.metrics().total("consent_relay_suppression_records_total", **labels) for worker in workers)
