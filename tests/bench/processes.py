"""The sandbox and propagators as processes of their own, over topics of their own, without the services before them."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import psutil

from consent_contracts import Codec, Topics
from consent_kafka import provisioning
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from consent_service.clock import now_micros
from local_stack.ports import free_port
from local_stack.scrape import Samples, scrape
from tests.bench.figures import Servers
from tests.bench.legacy import PARTITIONS, TENANT, LegacyTopics
from tests.bench.list_writer import ListWriter
from tests.bench.sandbox_client import SandboxClient
from tests.bench.system import delete_topics
from tests.support.list_resolved import ResolvedWriter
from tests.support.waiting import until

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
SESSION_SECONDS = 6
RESOLVED_SECONDS = 1.0
"""The session time-out, the shortest that is allowed."""


class Process:
    """One process of a service; `started_at` is when it was started, micros."""

    def __init__(self, service: str, instance: str, environ: dict[str, str], log: Path) -> None:
        self.instance = instance
        self._service = service
        self._log = log
        self._url = f"http://127.0.0.1:{environ['CONSENT_RELAY_METRICS_PORT']}"
        self.started_at = now_micros()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "consent_service", service],
                stdout=output,
                stderr=output,
                env={**os.environ, **environ},
            )

    def until_ready(self, *, seconds: float = 120.0) -> None:
        until(self.is_ready, seconds=seconds, what=f"a {self._service} that is ready; {self.tail()}", every=0.1)

    def is_ready(self) -> bool:
        """Raises RuntimeError when the process has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self._service} has ended with {self.process.returncode}: {self.tail()}")
        try:
            return httpx.get(f"{self._url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def metrics(self) -> Samples:
        return scrape(f"{self._url}/metrics", timeout=10)

    def memory(self) -> float:
        """Resident memory in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def processor_seconds(self) -> float:
        spent = psutil.Process(self.process.pid).cpu_times()
        return float(spent.user + spent.system)

    def kill(self) -> int:
        """SIGKILL; the micros at which it was sent."""
        at = now_micros()
        self.process.kill()
        self.process.wait()
        return at

    def terminate(self) -> int:
        """SIGTERM; the micros at which it was sent."""
        at = now_micros()
        self.process.terminate()
        return at

    def stop(self) -> int:
        """SIGTERM, and wait for the end; the micros at which the signal was sent."""
        at = self.terminate()
        self.process.wait(30)
        return at

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-1_500:] if self._log.exists() else ""


class Propagator(Process):
    """One propagator."""

    def is_planned(self, destination: str) -> bool:
        """Whether this is the active sender and its tables were planned for the destination to the end."""
        name = "consent_relay_propagation_delivered_until_timestamp_seconds"
        return self.metrics().least(name, destination=destination) is not None

    def pending(self, destination: str) -> float:
        """Revocations of the bulk class that the destination has not taken."""
        labels = {"class": "bulk", "kind": "suppress"}
        return self.metrics().total("consent_relay_propagation_backlog", destination=destination, **labels)


@dataclass
class Rig:
    """One installation without API, merge and gate: topics, a keyring, a destinations file, the sandbox."""

    servers: Servers
    topics: Topics
    keyring: Keyring
    legacy: LegacyTopics
    lists: ListWriter
    sandbox: SandboxClient
    directory: Path
    workers: list[Propagator] = field(default_factory=list)

    def declare(self, text: str, *, propagator: str = "default") -> None:
        """Write the destinations file of a propagator; `{sandbox}` is the sandbox's address."""
        self._destinations(propagator).write_text(text.format(sandbox=self.sandbox.url))

    def start(self, instance: str = "one", *, propagator: str = "default") -> Propagator:
        """An instance of a propagator, with its local state; not ready yet."""
        environ = {
            "KAFKA": self.servers.kafka,
            "REGISTRY": self.servers.registry,
            "TOPIC_PREFIX": self.topics.prefix,
            "KEYRING_FILE": str(self.directory / "keyring.toml"),
            "STATE_DIR": str(self.directory / instance),
            "INSTANCE_ID": instance,
            "METRICS_PORT": str(free_port()),
            "PROPAGATORS": ",".join(self.topics.propagators),
            "PROPAGATOR_NAME": propagator,
            "PROPAGATOR_DESTINATIONS": str(self._destinations(propagator)),
            "PROPAGATOR_SESSION_TIMEOUT": str(SESSION_SECONDS),
        }
        settings = {f"CONSENT_RELAY_{name}": value for name, value in environ.items()}
        environ = settings | {"WEBHOOK": SECRET}
        worker = Propagator("propagator", instance, environ, self.directory / f"{instance}.log")
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """End every propagator that runs."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.stop()

    def _destinations(self, propagator: str) -> Path:
        return self.directory / f"{propagator}.yaml"


@contextmanager
def rig(servers: Servers, *, propagators: tuple[str, ...] = ("default",)) -> Iterator[Rig]:
    """Nothing is left behind; the propagators that still run are ended."""
    topics = Topics(prefix=f"b{uuid4().hex[:8]}.", propagators=propagators)
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics, partitions=PARTITIONS)
    try:
        with tempfile.TemporaryDirectory(prefix="consent-relay-bench-") as name, _sandbox(Path(name)) as sandbox:
            keyring = generate(Path(name) / "keyring.toml", [TENANT])
            codec = Codec.connect(servers.registry, topics)
            resolved = ResolvedWriter(bootstrap=servers.kafka, codec=codec, topics=topics)
            made = Rig(
                servers=servers,
                topics=topics,
                keyring=keyring,
                legacy=LegacyTopics(servers, topics, keyring),
                lists=ListWriter(servers, topics, keyring),
                sandbox=sandbox,
                directory=Path(name),
            )
            try:
                with resolved.running(period=RESOLVED_SECONDS):
                    yield made
            finally:
                made.stop()
    finally:
        delete_topics(servers, topics)


@contextmanager
def _sandbox(directory: Path) -> Iterator[SandboxClient]:
    config = directory / "sandbox.toml"
    config.write_text(
        f'control_token = "{SECRET}"\n[webhook]\nsecrets = ["{SECRET}"]\n[webhook.latency]\np50_ms = 5\np99_ms = 20\n'
    )
    command = [sys.executable, "-m", "consent_service", "sandbox", "--port", "0", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    client = SandboxClient(process.stdout.readline().strip().rpartition(" ")[2], token=SECRET)
    try:
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(10)
        process.stdout.close()
