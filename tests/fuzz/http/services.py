"""API, relay, merge and gate as processes, on a real database, registry and Kafka, with keys that may do everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from confluent_kafka.admin import AdminClient
from sqlalchemy import create_engine, make_url, text

from consent_api.ledger import key_store
from consent_api.ledger.migrate import migrate
from consent_contracts.topics import Topics
from consent_http import api_keys
from consent_kafka import provisioning
from consent_service.clock import now_micros
from local_stack.ports import free_port
from local_stack.servers import ServerEndpoints
from tests.conftest import TENANT, own_database

MAX_SECONDS = 60.0
"""For an answer. No answer takes a hundredth of that; the machine may be stopped in between."""
MAX_ANSWER_BYTES = 1_000_000
RATES = (
    *(f"API_{of}_{what}_RATE" for of in ("KEY", "TENANT") for what in ("LIVE", "BULK", "READ")),
    *(f"GATE_{of}_{what}_RATE" for of in ("KEY", "TENANT") for what in ("REQUEST", "ADDRESS")),
)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process. `url` and `token`: where it answers HTTP, and the key with which it may be asked everything."""

    name: str
    url: str
    token: str
    health: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def document(self) -> dict[str, Any]:
        """Its OpenAPI description."""
        found: dict[str, Any] = httpx.get(f"{self.url}/openapi.json", timeout=MAX_SECONDS).json()
        return found

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"

    def require_well(self) -> None:
        """It lives, is ready, and has logged no fault of its own."""
        _wait_until_ready(self)
        for line in self.log.read_text("utf-8").splitlines():
            entry = json.loads(line)
            assert entry["level"] in ("DEBUG", "INFO", "WARNING"), line
            assert "exception" not in entry, line


def require_all_well(services: Mapping[str, Service]) -> None:
    """Whatever was sent, each process lives, is ready, and has logged no fault of its own."""
    for each in services.values():
        each.require_well()


def _wait_until_ready(service: Service) -> None:
    deadline = time.monotonic() + MAX_SECONDS
    while True:
        assert service.process.poll() is None, service.log.read_text()
        try:
            answer = httpx.get(service.health, timeout=5)
            if answer.is_success:
                return
            state = answer.text
        except httpx.HTTPError as error:
            state = repr(error)
        assert time.monotonic() < deadline, f"{service.name} is not ready: {state}"
        time.sleep(0.1)


@contextmanager
def running(servers: ServerEndpoints, keyring_file: Path, directory: Path) -> Iterator[dict[str, Service]]:
    """All of them under a prefix and a database of their own, until the end of the block."""
    topics = Topics(prefix=f"t{uuid4().hex[:8]}.")
    with ExitStack() as stack:
        database, token = stack.enter_context(_migrated(servers))
        provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics)
        stack.callback(_delete, servers, topics)
        check_token, check_key = api_keys.mint(tenant=TENANT, scopes=["check"])
        keys_file = directory / "gate-keys.json"
        keys_file.touch(mode=0o600)
        api_keys.write(keys_file, [check_key])
        settings = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CONSENT_RELAY_")},
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_TOPIC_PREFIX": topics.prefix,
            "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
            "CONSENT_RELAY_API_DATABASE": database,
            "CONSENT_RELAY_PUBLIC_URL": "https://choices.example.com",
            "CONSENT_RELAY_GATE_KEYS_FILE": str(keys_file),
            "CONSENT_RELAY_STATE_DIR": str(directory / "state"),
            **{f"CONSENT_RELAY_{name}": "0" for name in RATES},  # Not limited: every answer would soon be 429.
        }
        tokens = {"relay": "", "suppression": "", "api": token, "gate": check_token}
        services = {
            name: stack.enter_context(_started(name, directory, token, settings)) for name, token in tokens.items()
        }
        for service in services.values():
            _wait_until_ready(service)
        yield services


@contextmanager
def _started(name: str, directory: Path, token: str, environment: dict[str, str]) -> Iterator[Service]:
    port, metrics_port = free_port(), free_port()
    ports = {f"CONSENT_RELAY_{name.upper()}_PORT": str(port), "CONSENT_RELAY_METRICS_PORT": str(metrics_port)}
    path = directory / f"{name}.log"
    command = [sys.executable, "-m", "consent_service", name]
    with path.open("wb") as log:
        process = subprocess.Popen(command, env=environment | ports, stderr=log)
        service = Service(
            name=name,
            url=f"http://127.0.0.1:{port}",
            token=token,
            health=f"http://127.0.0.1:{metrics_port}/readyz",
            process=process,
            log=path,
        )
        try:
            yield service
        finally:
            process.kill()
            process.wait()


@contextmanager
def _migrated(servers: ServerEndpoints) -> Iterator[tuple[str, str]]:
    """The URL of a database as the service connects to it, and an API key of the test's tenant."""
    with own_database(servers) as url:
        owner = make_url(url)
        role = f"svc_{uuid4().hex[:12]}"
        service = owner.set(username=role, password=uuid4().hex)
        migrate(owner, service)
        engine = create_engine(owner, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                token = key_store.create(
                    connection, tenant=TENANT, scopes=sorted(api_keys.SCOPES), name="fuzz", now=now_micros()
                )
            yield service.render_as_string(hide_password=False), token
            with engine.connect() as connection:
                connection.execute(text(f"DROP OWNED BY {role}"))
                connection.execute(text(f"DROP ROLE {role}"))
        finally:
            engine.dispose()


def _delete(servers: ServerEndpoints, topics: Topics) -> None:
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for deleted in admin.delete_topics([spec.name for spec in topics.specs()]).values():
        deleted.result()
