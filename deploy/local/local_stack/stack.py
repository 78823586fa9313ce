"""The whole system on one machine, as one object: what `up`, the demo and the tests all use."""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from consent_contracts.topics import Topics
from consent_kafka import provisioning
from consent_kafka.errors import ProvisionError
from local_stack import credentials, preference_centre
from local_stack.destinations import DESTINATIONS, write_destinations
from local_stack.endpoints import Endpoints
from local_stack.errors import StartFailedError
from local_stack.ports import free_port, remembered_ports
from local_stack.processes.supervisor import MAX_START_SECONDS, Crash, Supervisor
from local_stack.servers import Servers
from local_stack.services import NAMES, PORTS, SHARED, Service, StackSettings, service


class Stack(AbstractContextManager["Stack"]):
    """Servers and services under one directory. Data, ports and secrets survive from start to start.

    `environ` may name existing servers (servers/__init__.py) and hold any other CONSENT_RELAY_ setting, which
    every service is then given. `report` is called, from any thread, with each crash of a child. `destinations` is the
    text of the destinations file, with {sandbox} for the sandbox's address.
    """

    def __init__(
        self,
        directory: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        report: Callable[[str], None] = print,
        destinations: str = DESTINATIONS,
    ) -> None:
        self.directory = directory
        self.supervisor = Supervisor(directory / "logs", report=report)
        self._environ = {name: value for name, value in environ.items() if name.startswith("CONSENT_RELAY_")}
        self._servers = Servers(self.supervisor, directory / "servers", environ)
        self._ports = remembered_ports(directory / "ports.json", PORTS)
        self._destinations = destinations
        self._stack_settings: StackSettings | None = None
        self._endpoints: Endpoints | None = None
        self._added: dict[str, Mapping[str, int]] = {}
        """The ports of each added instance, by its name."""

    @property
    def endpoints(self) -> Endpoints:
        """Where everything is. Only after `start`."""
        if self._endpoints is None:
            raise RuntimeError("the stack has not been started")
        pids = {name: pid for name in self.supervisor.names if (pid := self.supervisor.child(name).pid)}
        return replace(self._endpoints, pids=pids)

    @property
    def crashes(self) -> list[Crash]:
        """The children that ended without having been asked to, since the start."""
        return self.supervisor.crashes

    def download(self) -> None:
        """Have at hand what `start` needs; worth its own call, as the first time it takes minutes."""
        self._servers.download()

    def start(self) -> Endpoints:
        """Everything, each part as soon as what it needs is there; returns when all are ready.

        Raises LocalStackError; whatever was started by then is ended by `stop`.
        """
        self.download()
        files = write_destinations(self.directory, f"http://127.0.0.1:{self._ports['sandbox']}", self._destinations)
        keyring = self.directory / "keyring.toml"
        credentials.ensure_keyring(keyring, self.gate_keyring)
        self.supervisor.begin_layer()
        keys: list[credentials.Credentials] = []
        self.supervisor.run_parallel(self._servers.start_kafka, lambda: keys.append(self._start_storage(keyring)))
        servers = self._servers.addresses
        settings = self._settings(keyring)
        self._provision(settings)
        self._stack_settings = StackSettings(
            directory=self.directory,
            settings=settings,
            ports=self._ports,
            database=credentials.service_url(servers.database, keys[0].role, keys[0].password),
            gate_keys=self.directory / "secrets" / credentials.GATE_KEYS,
            gate_keyring=self.gate_keyring,
            status_keys=self.directory / "secrets" / credentials.STATUS_KEYS,
            destinations=files.destinations,
            sandbox=files.sandbox,
        )
        services = [self._service(kind) for kind in NAMES]
        self._start_services(services)
        self._endpoints = Endpoints(
            kafka=servers.kafka,
            registry=servers.registry,
            database=servers.database,
            api=self._stack_settings.url("api-http"),
            gate=self._stack_settings.url("gate-http"),
            status=self._stack_settings.url("status-http"),
            sandbox=self._stack_settings.url("sandbox"),
            sandbox_token=files.sandbox_token,
            metrics={each.name: each.metrics for each in services if each.name != "sandbox"},
            tenant=credentials.TENANT,
            api_key=keys[0].api_key,
            check_key=keys[0].check_key,
            keyring_file=str(keyring),
            key_file=str(self.gate_keyring),
            destinations_file=str(files.destinations),
            topic_prefix=settings.get("CONSENT_RELAY_TOPIC_PREFIX", ""),
            logs=str(self.directory / "logs"),
            pids={},
            settings={
                **settings,
                "CONSENT_RELAY_API_DATABASE": self._stack_settings.database,
                "CONSENT_RELAY_API_DATABASE_OWNER": servers.database,
                "CONSENT_RELAY_GATE_KEYS_FILE": str(self._stack_settings.gate_keys),
                "CONSENT_RELAY_PROPAGATOR_DESTINATIONS": str(files.destinations),
                "CONSENT_RELAY_STATE_DIR": str(self.state_directory("operator")),
                "CONSENT_RELAY_METRICS_PORT": str(self._ports["propagator"]),  # What `destinations list` reads.
            },
        )
        self._publish()
        return self.endpoints

    def stop(self) -> None:
        """End all that was started, services before servers, and nothing else."""
        self.withdraw()
        self.supervisor.stop_all()

    def withdraw(self) -> None:
        """Remove the file that leads others here."""
        (self.directory / "endpoints.json").unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop, and delete the data."""
        self.stop()
        self._servers.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would be, of a service or of a server that this stack started."""
        self.supervisor.child(name).kill()

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        self.supervisor.child(name).pause()

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self.supervisor.child(name).resume()

    def restart(self, name: str, *, seconds: float = MAX_START_SECONDS) -> None:
        """Kill it unless it is dead already, start it the same, wait until it is ready."""
        self.supervisor.restart(name, seconds=seconds)
        self._publish()

    @property
    def gate_keyring(self) -> Path:
        """The gate's export of the keyring: to be written again when that changes."""
        return self.directory / "secrets" / "gate-keyring.toml"

    def add_worker(self, kind: str) -> str:
        """Start one more instance of a service that shares its work; returns its name, such as `suppression-2`."""
        if kind not in SHARED:
            raise ValueError(f"{kind} does not share its work; these do: {', '.join(SHARED)}")
        number = 2
        while f"{kind}-{number}" in self.supervisor.names:
            number += 1
        name = f"{kind}-{number}"
        self._added[name] = {"metrics": free_port(), "http": free_port()}
        another = service(self._started, kind, name=name, ports=self._added[name])
        self.supervisor.add(another.program(), another.probe())
        return name

    def added_url(self, name: str) -> str:
        """Where an API or a gate of `add_worker` answers."""
        return f"http://127.0.0.1:{self._added[name]['http']}"

    def added_metrics(self, name: str) -> str:
        """Where an instance of `add_worker` serves its metrics and health pages."""
        return f"http://127.0.0.1:{self._added[name]['metrics']}"

    def state_directory(self, name: str) -> Path:
        """Where the service keeps its local state."""
        return self.directory / "state" / name

    def add_destination(self, declared: str) -> None:
        """Add a destination to the file (one list item, with {sandbox}) and replace the propagator in order: another
        one starts as standby with the new file, takes over, and gives back when the first has been started again."""
        self.toggle_destination(declared)
        other = self.add_worker("propagator")
        self.supervisor.child("propagator").stop()
        self.restart("propagator")
        self.supervisor.child(other).stop()

    def toggle_destination(self, declared: str) -> bool:
        """Add a destination to the file, or remove it where it is in it; whether it is in it now."""
        (item,) = yaml.safe_load(declared.format(sandbox=self._started.url("sandbox")))
        listed = self._declared()
        others = [each for each in listed if each["name"] != item["name"]]
        added = len(others) == len(listed)
        self._declare([*others, item] if added else others)
        return added

    def raise_generation(self, *names: str) -> None:
        """One more than before for these destinations (all, if none is named): each is filled at the next start."""
        listed = self._declared()
        for each in listed:
            if not names or each["name"] in names:
                each["generation"] = each.get("generation", 0) + 1
        self._declare(listed)

    def _declared(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = yaml.safe_load(self._started.destinations.read_text())["destinations"]
        return listed

    def _declare(self, destinations: list[dict[str, Any]]) -> None:
        self._started.destinations.write_text(yaml.safe_dump({"destinations": destinations}, sort_keys=False))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __enter__(self) -> Self:
        return self

    @property
    def _started(self) -> StackSettings:
        if self._stack_settings is None:
            raise RuntimeError("the stack has not been started")
        return self._stack_settings

    def _service(self, kind: str) -> Service:
        ports = {"metrics": self._ports[kind], "http": self._ports.get(f"{kind}-http", 0)}
        return service(self._started, kind, name=kind, ports=ports)

    def _settings(self, keyring: Path) -> dict[str, str]:
        """The settings that every service is given."""
        servers = self._servers.addresses
        api = f"http://127.0.0.1:{self._ports['api-http']}"
        return {
            **preference_centre.settings(self.directory, api, self._environ),
            **self._environ,
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_KEYRING_FILE": str(keyring),
        }

    def _start_storage(self, keyring: Path) -> credentials.Credentials:
        """PostgreSQL, then beside each other the registry and the ledger's tables, role and API keys."""
        self._servers.start_database()
        keys: list[credentials.Credentials] = []
        self.supervisor.run_parallel(self._servers.start_registry, lambda: keys.append(self._open_ledger()))
        return keys[0]

    def _open_ledger(self) -> credentials.Credentials:
        which = self._environ.get("CONSENT_RELAY_DATABASE", "ours")
        return credentials.open_ledger(self.directory / "secrets", which, self._servers.addresses.database)

    def _provision(self, settings: Mapping[str, str]) -> None:
        channels = settings.get("CONSENT_RELAY_CHANNELS", "")
        prefix = settings.get("CONSENT_RELAY_TOPIC_PREFIX", "")
        topics = Topics(prefix=prefix, channels=tuple(channels.split(","))) if channels else Topics(prefix=prefix)
        servers = self._servers.addresses
        partitions = int(settings.get("CONSENT_RELAY_PARTITIONS", "4"))
        try:
            provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics, partitions=partitions)
        except ProvisionError as error:
            log = self.directory / "logs"
            raise StartFailedError(name="topics apply", why="failed", log=log, tail=str(error)) from error

    def _start_services(self, services: list[Service]) -> None:
        self.supervisor.begin_layer()
        self.supervisor.run_parallel(*(lambda each=each: self._add(each) for each in services))

    def _add(self, each: Service) -> None:
        self.supervisor.add(each.program(), each.probe())

    def _publish(self) -> None:
        self.endpoints.write(self.directory / "endpoints.json")
