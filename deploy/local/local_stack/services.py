"""The processes of the system: the name, command, settings and health page of each."""

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from local_stack import plain_http
from local_stack.processes.child import Program
from local_stack.processes.supervisor import Probe

# The processes that a second instance may join: they share work by consumer groups or by locked rows.
SHARED = ("relay", "ingest", "suppression", "propagator", "gate", "api")
NAMES = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag", "status", "sandbox")
MEASURED = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag")
"""The processes that the status page shows."""
PORTS = (*NAMES, "api-http", "gate-http", "status-http")


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """What the services of one system have in common. `settings` are environment variables."""

    directory: Path
    settings: Mapping[str, str]
    ports: Mapping[str, int]
    database: str
    gate_keys: Path
    gate_keyring: Path
    status_keys: Path
    destinations: Path
    sandbox: Path

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process; `metrics` is the address of its /metrics and /readyz."""

    name: str
    arguments: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    metrics: str
    pages: tuple[str, ...] = ()

    def program(self) -> Program:
        command = [sys.executable, "-m", "consent_service", *self.arguments]
        return Program(name=self.name, command=command, env=self.settings)

    def probe(self) -> Probe:
        """Asks /readyz, then every page that it serves for others."""
        return lambda: _first_refusal([f"{self.metrics}/readyz", *self.pages])


def service(stack: StackSettings, kind: str, *, name: str, ports: Mapping[str, int]) -> Service:
    """The service `kind` as an instance called `name`, on ports of its own."""
    metrics = f"http://127.0.0.1:{ports['metrics']}"
    if kind == "sandbox":
        state = stack.directory / "state" / "sandbox"
        state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        arguments = ("sandbox", "--port", str(ports["metrics"]), "--config", str(stack.sandbox))
        return Service(name=name, arguments=(*arguments, "--state-file", str(state)), metrics=metrics)
    settings = {
        **stack.settings,
        "CONSENT_RELAY_METRICS_PORT": str(ports["metrics"]),
        "CONSENT_RELAY_INSTANCE_ID": name,
        "CONSENT_RELAY_STATE_DIR": str(stack.directory / "state" / name),
    }
    pages: tuple[str, ...] = ()
    if kind in ("api", "relay", "ingest"):
        settings["CONSENT_RELAY_API_DATABASE"] = stack.database
    if kind == "api":
        settings["CONSENT_RELAY_API_PORT"] = str(ports["http"])
        pages = (f"http://127.0.0.1:{ports['http']}/openapi.json",)
    if kind in ("api", "gate"):
        settings.setdefault(f"CONSENT_RELAY_{kind.upper()}_SHUTDOWN_DELAY", "0")  # No load balancer before it.
    if kind == "gate":
        settings["CONSENT_RELAY_GATE_PORT"] = str(ports["http"])
        settings["CONSENT_RELAY_GATE_API_URL"] = stack.url("api-http")
        settings["CONSENT_RELAY_GATE_KEYS_FILE"] = str(stack.gate_keys)
        settings["CONSENT_RELAY_KEYRING_FILE"] = str(stack.gate_keyring)
    if kind == "lag":
        settings.setdefault("CONSENT_RELAY_LAG_INTERVAL", "1")  # A person is watching.
    if kind == "status":
        settings["CONSENT_RELAY_STATUS_PORT"] = str(ports["http"])
        settings["CONSENT_RELAY_STATUS_KEYS_FILE"] = str(stack.status_keys)
        settings["CONSENT_RELAY_STATUS_TARGETS"] = ",".join(f"{each}={stack.url(each)}" for each in MEASURED)
        settings["CONSENT_RELAY_STATUS_API_URL"] = stack.url("api-http")
        settings.setdefault("CONSENT_RELAY_STATUS_INTERVAL", "2")  # A person is watching.
    if kind == "propagator":
        settings["CONSENT_RELAY_PROPAGATOR_DESTINATIONS"] = str(stack.destinations)
    return Service(name=name, arguments=(kind,), settings=settings, metrics=metrics, pages=pages)


def _first_refusal(urls: list[str]) -> str | None:
    for url in urls:
        try:
            answer = plain_http.get(url, timeout=2)
        except httpx.HTTPError as error:
            return f"{url}: {type(error).__name__}"
        if answer.status_code != 200:
            why = textwrap.shorten("; ".join(answer.text.splitlines()), 200, placeholder=" ...")
            return f"{url}: {answer.status_code} {why}"
    return None
