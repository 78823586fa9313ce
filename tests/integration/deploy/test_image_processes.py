"""The processes of docker-compose.yml, from the image's wheel and with its environment, without an engine.

One after the other, what `docker compose up` starts: the preparations, then every process until it is ready, and the
end of each by SIGTERM. Nothing but the volumes may have been written.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from psycopg import sql

from consent_contracts.topics import Topics
from local_stack.ports import free_port
from local_stack.servers import ServerEndpoints
from tests.support.compose import OURS, environment, seconds
from tests.support.deployed import DOCKERFILE, LASTING, ROOT
from tests.support.provider_webhooks import standard
from tests.support.waiting import until

REMOVED = tuple(re.findall(r"site-packages/(\w+)", DOCKERFILE.read_text()))
WITH_STATE = ("suppression", "propagator")
SECRETS = {"gate": "gate", "status": "status"}
"""Processes whose volume is not that of all others."""
RUNNING = (*LASTING, "webhooks")


class Containers:
    """The file systems of all containers: volumes, and what none of them may write to."""

    def __init__(self, directory: Path, servers: ServerEndpoints, database: str) -> None:
        self._directory = directory
        self._servers = servers
        self.prefix = f"t{uuid4().hex[:8]}."
        self.role = f"image_{uuid4().hex[:12]}"
        self.owner = database.replace("+psycopg", "", 1)
        self._ports: dict[str, int] = {}
        for name in ("site", "bin", "logs", "run", "gate", "status", "state", "read-only"):
            (directory / name).mkdir(mode=0o700)
        self.read_only = directory / "read-only"
        self.read_only.chmod(0o500)
        self._install()
        declared = (ROOT / "deploy" / "images" / "destinations.yaml").read_text()
        (directory / "destinations.yaml").write_text(declared.replace(":8090", f":{self.port('sandbox')}"))

    def _install(self) -> None:
        """The packages of the production image: ours from the wheel, without what the image removes."""
        site = self._directory / "site"
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*build, "--wheel-dir", site, ROOT], check=True, timeout=300)
        [wheel] = site.glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            kept = [name for name in file.namelist() if not name.startswith(tuple(f"{each}/" for each in REMOVED))]
            assert len(kept) < len(file.namelist())
            file.extractall(site, kept)
        # Without `site`: the project as it is installed here for editing is not seen.
        program = self._directory / "bin" / "consent-relay"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -S -m consent_service "$@"\n')
        program.chmod(0o755)

    def port(self, name: str) -> int:
        return self._ports.setdefault(name, free_port())

    def here(self, service: str, text: str) -> str:
        """What the text of the compose file means on this machine."""
        owner, database = self.owner.rsplit("@", 1)
        role = f"postgresql://{self.role}:a-password@{database}"
        for there, here in (
            ("postgresql://consent_relay_service:local-service@postgres:5432/consent_relay", role),
            ("postgresql://consent_relay:local-owner@postgres:5432/consent_relay", f"{owner}@{database}"),
            ("kafka:9092", self._servers.kafka),
            ("http://registry:8080/apis/ccompat/v7", self._servers.registry),
            ("http://api:8080", f"http://127.0.0.1:{self.port('api')}"),
            *((f"http://{name}:9464", f"http://127.0.0.1:{self.port(f'{name} metrics')}") for name in RUNNING),
            ("/run/consent-relay-gate", str(self._directory / "gate")),
            ("/run/consent-relay-status", str(self._directory / "status")),
            ("/run/consent-relay", str(self._directory / SECRETS.get(service, "run"))),
            ("/etc/consent-relay/destinations.yaml", str(self._directory / "destinations.yaml")),
            ("/etc/consent-relay/sources.yaml", str(ROOT / "deploy" / "images" / "sources.yaml")),
            ("0.0.0.0", "127.0.0.1"),
        ):
            text = text.replace(there, here)
        return text

    def environment(self, service: str) -> dict[str, str]:
        given = {name: self.here(service, value) for name, value in environment(service).items()}
        if (port := f"CONSENT_RELAY_{OURS[service]['command'][0].upper()}_PORT") in given:
            given[port] = str(self.port(service))
        return {
            **given,
            "PATH": f"{self._directory / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self._directory / 'site'}:{sysconfig.get_path('purelib')}",
            "PYTHONFAULTHANDLER": "1",
            "HOME": str(self.read_only),
            "TMPDIR": str(self.read_only),
            "CONSENT_RELAY_METRICS_PORT": str(self.port(f"{service} metrics")),
            "CONSENT_RELAY_TOPIC_PREFIX": self.prefix,
            "CONSENT_RELAY_STATE_DIR": str(self._directory / "state" if service in WITH_STATE else self.read_only),
        }

    def start(self, service: str) -> subprocess.Popen[bytes]:
        words = [self.here(service, word) for word in OURS[service]["command"]]
        with self.log(service).open("wb") as log:
            return subprocess.Popen(
                [*OURS[service].get("entrypoint", ["consent-relay"]), *words],
                env=self.environment(service),
                cwd=self.read_only,
                stdout=log,
                stderr=log,
            )

    def start_sandbox(self) -> subprocess.Popen[bytes]:
        """That of the image `demo`, as it is installed here."""
        command = [sys.executable, "-m", "consent_service", "sandbox", "--port", str(self.port("sandbox"))]
        with self.log("sandbox").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def log(self, service: str) -> Path:
        return self._directory / "logs" / service

    def run(self, service: str) -> None:
        code = self.start(service).wait(timeout=120)
        assert code == 0, f"{service}: {self.log(service).read_text()}"

    def ready(self, service: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port(f'{service} metrics')}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def written(self) -> list[str]:
        """What is where nothing may be written."""
        return sorted(str(each.relative_to(self._directory)) for each in self.read_only.rglob("*"))


@pytest.fixture
def containers(servers: ServerEndpoints, database: str, tmp_path: Path) -> Iterator[Containers]:
    found = Containers(tmp_path, servers, database)
    yield found
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for deleted in admin.delete_topics([spec.name for spec in Topics(prefix=found.prefix).specs()]).values():
        deleted.result()
    with psycopg.connect(database.replace("+psycopg", "", 1), autocommit=True) as connection:
        role = sql.Identifier(found.role)
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def wait_until_ready(containers: Containers, name: str, process: subprocess.Popen[bytes]) -> None:
    """Fails with the log of a process that ends, or that gets nowhere: with where its threads are."""
    try:
        until(lambda: process.poll() is not None or containers.ready(name), what=f"{name} is ready")
    except AssertionError:
        process.send_signal(signal.SIGABRT)
        process.wait(timeout=30)
    assert process.poll() is None, f"{name}: {containers.log(name).read_text()}"


def preparations() -> list[str]:
    """What ends by itself, in an order that the compose file permits."""
    once = {name for name, service in OURS.items() if service["restart"] == "no"}
    return list(
        TopologicalSorter({name: once & OURS[name].get("depends_on", {}).keys() for name in once}).static_order()
    )


def audited(containers: Containers) -> set[str]:
    """The acts of which the audit has an entry."""
    with psycopg.connect(containers.owner) as connection:
        return {act for (act,) in connection.execute("SELECT act FROM audit_entries")}


def report_opt_out(containers: Containers) -> int:
    """The status of the answer to a webhook of the compose file's source."""
    secret = environment("webhooks")["SANDBOX_INBOUND_SECRET"]
    event = {"type": "opt_out", "address": "person@example.com"}
    sent = standard(event, key=secret, now=int(time.time()), message_id="msg-1")
    url = f"http://127.0.0.1:{containers.port('webhooks')}/v1/inbound/crm"
    return httpx.post(url, content=sent.body, headers=dict(sent.headers)).status_code


def test_every_process_starts_from_the_wheel_and_writes_its_volumes_alone(containers: Containers) -> None:  # R41
    for preparation in preparations():
        containers.run(preparation)
    made = {"database_migrated", "keyring_generated", "keyring_exported", "topics_applied", "keys_exported"}
    assert audited(containers) == made
    sandbox = containers.start_sandbox()
    processes = {name: containers.start(name) for name in RUNNING}
    try:
        for name, process in processes.items():
            wait_until_ready(containers, name, process)
        assert httpx.get(f"http://127.0.0.1:{containers.port('api')}/openapi.json").status_code == 200
        page = f"http://127.0.0.1:{containers.port('status')}/status"
        assert httpx.get(page, follow_redirects=True).status_code == 200
        assert report_opt_out(containers) == 200
        for process in processes.values():
            process.terminate()
        # An engine kills what has not ended by then.
        codes = {
            name: process.wait(timeout=seconds(OURS[name]["stop_grace_period"])) for name, process in processes.items()
        }
    finally:
        for process in (sandbox, *processes.values()):
            process.kill()
            process.wait()
    assert codes == dict.fromkeys(RUNNING, 0)
    assert containers.written() == []
