"""Workers as operators run them, over one set of topics, and what has to be in the lists in the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from confluent_kafka import TopicPartition

from consent_contracts import AddressEntry, entry_from_avro, entry_from_change
from consent_contracts.join import join
from consent_kafka import clients as kafka_clients
from tests.integration.suppression.stage import Rig
from tests.support.waiting import until

PEOPLE = 400
READY = "consent_relay_suppression_partition_ready{"


class Worker:
    """A `consent-relay suppression` of its own instance id."""

    def __init__(self, environment: dict[str, str], instance: str, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = log
        with log.open("ab") as output:
            self.process = self._start(output, environment, instance)

    def _start(self, output: BinaryIO, environment: dict[str, str], instance: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "consent_service", "suppression"],
            env={
                **os.environ,
                **environment,
                "CONSENT_RELAY_INSTANCE_ID": instance,
                "CONSENT_RELAY_METRICS_PORT": str(self.port),
                "CONSENT_RELAY_SUPPRESSION_SESSION_TIMEOUT": "6",
            },
            stderr=output,
        )

    def ready(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()[-4000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def readiness(self) -> str:
        """The body of /readyz."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                body: bytes = answer.read()
        except urllib.error.HTTPError as refused:
            body = refused.read()
        except (urllib.error.URLError, OSError):
            return ""
        return body.decode()

    def sample(self, name: str, **labels: str) -> float | None:
        """The value of one time series; None when there is none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for line in lines:
            series, _, value = line.rpartition(" ")
            found, _, given = series.partition("{")
            if found == name and wanted <= set(given.rstrip("}").split(",")):
                return float(value)
        return None

    def merges(self) -> int:
        """How many partitions it has restored and merges now."""
        return round(self.metric(READY))

    def metric(self, prefix: str) -> float:
        """The sum over the samples whose line begins like this."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(prefix))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Ask it to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Installation:
    """Workers over one set of topics, what was sent, and what the lists must hold in the end."""

    def __init__(self, rig: Rig, environment: dict[str, str], directory: Path) -> None:
        self.rig = rig
        self.environment = environment
        self._directory = directory
        self._producer: Any = kafka_clients.producer(rig.kafka)
        self._reader: Any = kafka_clients.consumer(rig.kafka, "reader")
        self._topics = [rig.topics.suppression(channel) for channel in rig.topics.channels]
        self._reader.assign([TopicPartition(topic, p, 0) for topic in self._topics for p in range(4)])
        self.expected: dict[tuple[str, str], AddressEntry] = {}
        self.entries: dict[tuple[str, str], AddressEntry] = {}
        self.written_at: list[int] = []
        self._resolved_reader: Any = kafka_clients.consumer(rig.kafka, "reader")
        self._resolved_reader.assign([TopicPartition(rig.topics.resolved, p, 0) for p in range(4)])
        self.resolved: dict[int, list[dict[str, Any]]] = {partition: [] for partition in range(4)}
        """Every ListResolved record, by partition; `read_resolved` brings it up to date."""
        self.workers = ExitStack()

    def close(self) -> None:
        self._reader.close()
        self._resolved_reader.close()

    def start(self, instance: str) -> Worker:
        worker = Worker(self.environment, instance, self._directory / f"{instance}.log")
        self.workers.callback(worker.end)
        return worker

    def send(self, number: int, **fields: Any) -> None:
        """A change in the lane that its `bulk` names."""
        sent = self.rig.change(number, **fields)
        change = entry_from_change(self.rig.codec.decode(self.rig.topics.changes, sent.value))
        place = (change.channel, change.address_key)
        self.expected[place] = join(self.expected.get(place), change)
        topics = self.rig.topics
        self._producer.produce(topics.changes_bulk if fields.get("bulk") else topics.changes, sent.value, sent.key)
        self._producer.poll(0)

    def state_resolved(self, partition: int, resolved_at: int, *, bulk: bool = False, **fields: Any) -> None:
        """What the relay states: everything of the lane before `resolved_at` is at lower offsets."""
        topic = self.rig.topics.changes_bulk if bulk else self.rig.topics.changes
        content = {"resolved_at": resolved_at, "inbound_resolved_at": None, "loss": 0, "repaired": None, **fields}
        value = self.rig.codec.encode(topic, content, "ConsentResolved")
        self._producer.produce(topic, value, b"%d" % partition, partition)

    def read_resolved(self) -> dict[int, dict[str, Any]]:
        """The newest ListResolved record of each partition that has one."""
        for message in self._resolved_reader.consume(1_000, timeout=0.1):
            assert message.error() is None, message.error()
            content = self.rig.codec.decode(message.topic(), message.value())
            assert message.key() == b"%d" % message.partition()
            assert content["partition"] == message.partition()
            self.resolved[message.partition()].append(content)
        return {partition: found[-1] for partition, found in self.resolved.items() if found}

    def close_holes(self) -> None:
        """As the relay of an empty ledger: end every hole at once."""

        def open_holes() -> set[tuple[int, str]]:
            newest = self.read_resolved()
            assert len(newest) <= 4
            return {
                (partition, hole)
                for partition, content in newest.items()
                for hole in {content["hole"], *content["channel_holes"].values()} - {None}
            }

        until(lambda: len(self.read_resolved()) == 4, 30, "every partition has stated where it is")
        answered: set[tuple[int, str]] = set()

        def closed() -> bool:
            for partition, hole in open_holes() - answered:
                self.state_resolved(partition, 0, bulk=True, repaired=hole)
                answered.add((partition, hole))
            self.flush()
            return not open_holes()

        until(closed, 30, "the holes are closed")

    def send_raw(self, key: bytes | None, value: bytes | None, *, bulk: bool = False) -> None:
        self._producer.produce(self.rig.topics.changes_bulk if bulk else self.rig.topics.changes, value, key)

    def flush(self) -> None:
        assert self._producer.flush(20) == 0

    def settled(self) -> bool:
        """Whether the topics say exactly what they must."""
        for message in self._reader.consume(10_000, timeout=0.3):
            assert message.error() is None, message.error()
            content = self.rig.codec.decode(message.topic(), message.value())
            self.written_at.append(content["written_at"])
            entry = entry_from_avro(content)
            self.entries[(entry.channel, entry.address_key)] = entry
        return self.entries == self.expected
