"""Processes under test, what they wrote, and a topic of the test's own."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).parent


class Worker:
    """One process under test."""

    def __init__(self, script: str, options: dict[str, Any], log: Path) -> None:
        self.options = options
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / script), json.dumps(options)],
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(40)


class Bench:
    """A topic, a group and a journal of the test's own."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.directory = directory
        self.topic = f"transport-{uuid4().hex[:8]}"
        self.group = self.topic
        self.journal = directory / "journal"
        self.journal.touch()
        self.workers: list[Worker] = []
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def create(self, partitions: int = 1) -> None:
        for created in self.admin.create_topics([NewTopic(self.topic, partitions, 1)]).values():
            created.result()

    def produce(self, values: Iterable[str]) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        failures: list[Any] = []
        for value in values:
            producer.produce(
                self.topic, value, key=value, on_delivery=lambda failed, _: failed and failures.append(failed)
            )
            producer.poll(0)
        producer.flush()
        assert not failures

    def worker(self, script: str = "journal_worker.py", *, instance: str = "one", **options: Any) -> Worker:
        worker = Worker(
            script,
            {
                "bootstrap": self.bootstrap,
                "topic": self.topic,
                "group": self.group,
                "journal": str(self.journal),
                "instance": instance,
                **options,
            },
            self.directory / f"{instance}.log",
        )
        self.workers.append(worker)
        return worker

    def notes(self, what: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [
            line
            for line in lines
            if what in (None, line["what"]) and all(line.get(name) == value for name, value in fields.items())
        ]

    def done(self) -> list[str]:
        """Every value that was processed, as often as it was."""
        return [value for line in self.notes("done") for value in line["values"]]

    def committed(self) -> dict[int, int]:
        partitions = self.admin.list_topics(self.topic).topics[self.topic].partitions
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group})
        try:
            places = consumer.committed([TopicPartition(self.topic, number) for number in partitions], 10)
        finally:
            consumer.close()
        return {place.partition: place.offset for place in places}

    def delete_before(self, offset: int) -> None:
        """What retention does: the records of partition 0 below `offset` are deleted."""
        place = TopicPartition(self.topic, 0, offset)
        for deleted in self.admin.delete_records([place]).values():
            deleted.result()

    def metric(self, name: str) -> float | None:
        """Of the newest worker; None when it has counted nothing."""
        url = f"http://127.0.0.1:{self.notes('start')[-1]['port']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = [line for line in answer.read().decode().splitlines() if line.startswith(f"{name}{{")]
        return float(found[0].split()[-1]) if found else None

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                os.kill(worker.pid, signal.SIGCONT)
                worker.kill()
        self.admin.delete_topics([self.topic])[self.topic].result()
