"""The three servers everything else needs: started from packages, or somebody's own by three settings."""

import json
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from local_stack.ports import free_port, is_free
from local_stack.servers.kafka import Kafka
from local_stack.servers.postgres import Postgres
from local_stack.servers.registry import Registry
from local_stack.supervisor import Supervisor


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the servers are. `database` is a SQLAlchemy URL whose role may create databases and roles."""

    kafka: str
    registry: str
    database: str

    @classmethod
    def read(cls, file: Path) -> Self:
        """From the file that `write` wrote, or from an endpoints.json."""
        found = json.loads(file.read_text())
        return cls(kafka=found["kafka"], registry=found["registry"], database=found["database"])

    def write(self, file: Path) -> None:
        """As JSON, readable by the owner alone: the database's URL holds a password."""
        file.touch(mode=0o600)
        content = {"kafka": self.kafka, "registry": self.registry, "database": self.database}
        file.write_text(json.dumps(content, indent=2) + "\n")


def start_servers(supervisor: Supervisor, directory: Path, environ: Mapping[str, str] = os.environ) -> Addresses:
    """Start those servers for which no setting names an existing one; return where all of them are.

    CONSENT_RELAY_KAFKA, CONSENT_RELAY_REGISTRY and CONSENT_RELAY_DATABASE name existing ones. Kafka starts
    beside PostgreSQL; our registry needs our PostgreSQL for itself, also when the database is somebody's own.
    """
    kafka, registry, database = (environ.get(f"CONSENT_RELAY_{name}", "") for name in ("KAFKA", "REGISTRY", "DATABASE"))
    ports = _ports(directory)
    supervisor.layer()
    with ThreadPoolExecutor(2) as pool:
        broker = None if kafka else pool.submit(_start_kafka, supervisor, directory, ports)
        if not (registry and database):
            postgres = Postgres(directory, ports["database"])
            postgres.prepare()
            supervisor.add(postgres.program(), postgres.probe)
            database = database or postgres.url()
        if not registry:
            registry = _start_registry(supervisor, postgres, ports)
        kafka = kafka or _result(broker)
    return Addresses(kafka=kafka, registry=registry, database=database)


def _start_kafka(supervisor: Supervisor, directory: Path, ports: Mapping[str, int]) -> str:
    broker = Kafka(directory, ports["kafka"], ports["controller"])
    broker.prepare()
    supervisor.add(broker.program(), broker.probe)
    return broker.bootstrap


def _start_registry(supervisor: Supervisor, postgres: Postgres, ports: Mapping[str, int]) -> str:
    registry = Registry(ports["registry"])
    registry.prepare()
    supervisor.add(registry.program(postgres.create_database("registry")), registry.probe)
    return registry.url


def _result(future: Future[str] | None) -> str:
    return "" if future is None else future.result()


def _ports(directory: Path) -> dict[str, int]:
    """The ports of the last start in this directory where they are still free, so that addresses stay."""
    file = directory / "ports.json"
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    names = ("kafka", "controller", "database", "registry")
    ports = {name: known[name] if name in known and is_free(known[name]) else free_port() for name in names}
    directory.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(ports) + "\n")
    return ports
