"""The three servers everything else needs: started from packages, or existing ones that three settings name."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from local_stack.ports import remembered_ports
from local_stack.processes.supervisor import Supervisor
from local_stack.servers.kafka import Kafka
from local_stack.servers.packages import installed
from local_stack.servers.postgres import Postgres
from local_stack.servers.registry import Registry


@dataclass(frozen=True, kw_only=True)
class ServerEndpoints:
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


class Servers:
    """Starts the servers for which no setting names an existing one.

    CONSENT_RELAY_KAFKA, CONSENT_RELAY_REGISTRY and CONSENT_RELAY_DATABASE name existing ones. Our registry needs
    a PostgreSQL of ours for itself, also where the system's database is an existing one.
    """

    def __init__(self, supervisor: Supervisor, directory: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._supervisor = supervisor
        self._kafka = environ.get("CONSENT_RELAY_KAFKA", "")
        self._registry = environ.get("CONSENT_RELAY_REGISTRY", "")
        self._database = environ.get("CONSENT_RELAY_DATABASE", "")
        ports = remembered_ports(directory / "ports.json", ("kafka", "controller", "database", "registry"))
        self._broker = Kafka(directory, ports["kafka"], ports["controller"])
        self._schemas = Registry(ports["registry"])
        self._postgres = Postgres(directory, ports["database"])

    @property
    def addresses(self) -> ServerEndpoints:
        """Where the servers are, once they have been started."""
        return ServerEndpoints(kafka=self._kafka, registry=self._registry, database=self._database)

    def download(self) -> None:
        """Have at hand what `start` will need; to be called first, since it can take minutes."""
        if not self._kafka:
            installed("kafka")
        if not self._registry:
            installed("registry")

    def start(self) -> ServerEndpoints:
        """All of them. Raises StartFailedError, DownloadFailedError or ProgramMissingError."""
        self.download()
        self._supervisor.begin_layer()
        self._supervisor.run_parallel(self.start_kafka, self._start_storage)
        return self.addresses

    def remove(self) -> None:
        """Delete what PostgreSQL kept, which may lie outside the directory; for servers that were stopped."""
        self._postgres.remove()

    def start_kafka(self) -> None:
        if not self._kafka:
            self._broker.prepare()
            self._supervisor.add(self._broker.program(), self._broker.probe)
            self._kafka = self._broker.bootstrap

    def start_database(self) -> None:
        """PostgreSQL, with a database for the system in it."""
        if not (self._registry and self._database):
            self._postgres.prepare()
            self._supervisor.add(self._postgres.program(), self._postgres.probe)
        if not self._database:
            self._database = self._postgres.create_database("consent_relay")

    def start_registry(self) -> None:
        """After `start_database`."""
        if not self._registry:
            storage = self._postgres.create_database("registry")
            self._supervisor.add(self._schemas.program(storage), self._schemas.probe)
            self._registry = self._schemas.url

    def _start_storage(self) -> None:
        self.start_database()
        self.start_registry()
