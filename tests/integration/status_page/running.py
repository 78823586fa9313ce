"""The process of the status page, and processes with real metrics for it to read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry

from consent_api.outbox_relay.metrics import RelayMetrics
from consent_contracts.topics import Topics
from consent_service.health import Health, Server, serve_metrics
from local_stack.ports import free_port
from propagator.metrics import Metrics as PropagatorMetrics
from tests.support.waiting import until

TOPICS = Topics()


@dataclass
class Measured:
    """A relay and a propagator, as far as their metrics go, on ports of their own."""

    ports: Mapping[str, int]
    registries: Mapping[str, CollectorRegistry]
    relay: RelayMetrics
    propagator: PropagatorMetrics
    servers: dict[str, Server]

    @classmethod
    def start(cls) -> Measured:
        registries = {name: CollectorRegistry() for name in ("relay", "propagator")}
        made = cls(
            ports={name: free_port() for name in registries},
            registries=registries,
            relay=RelayMetrics.on(registries["relay"], topics=[TOPICS.changes]),
            propagator=PropagatorMetrics.on(registries["propagator"], channels={"twilio-fr": "sms"}),
            servers={},
        )
        made.propagator.breaker_open.labels("twilio-fr").set(0)
        made.propagator.verified.labels("twilio-fr").set(1)
        for name in registries:
            made.serve(name)
        return made

    def serve(self, name: str) -> None:
        health = Health()
        self.servers[name] = serve_metrics(self.registries[name], health, "127.0.0.1", self.ports[name])

    def stop(self, name: str) -> None:
        self.servers.pop(name).close()

    @property
    def targets(self) -> str:
        return ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in self.ports.items())


@dataclass
class StatusProcess:
    """A running one, at ``url``."""

    url: str
    metrics: str
    process: subprocess.Popen[bytes]


@contextmanager
def running(keys: Path, targets: str, **settings: str) -> Iterator[StatusProcess]:
    port, metrics_port = free_port(), free_port()
    environment = {
        "CONSENT_RELAY_STATUS_PORT": str(port),
        "CONSENT_RELAY_METRICS_PORT": str(metrics_port),
        "CONSENT_RELAY_STATUS_KEYS_FILE": str(keys),
        "CONSENT_RELAY_STATUS_TARGETS": targets,
        "CONSENT_RELAY_STATUS_INTERVAL": "1",
        **settings,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_RELAY_")}
    process = subprocess.Popen([sys.executable, "-m", "consent_service", "status"], env={**inherited, **environment})
    made = StatusProcess(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}", process)
    try:
        until(lambda: _is_ready(made), what="the status page is ready")
        yield made
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_ready(made: StatusProcess) -> bool:
    assert made.process.poll() is None, "it has ended"
    with suppress(httpx.TransportError):
        return httpx.get(f"{made.metrics}/readyz", timeout=10).status_code == 200
    return False
