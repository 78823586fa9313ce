"""Where everything is: endpoints.json for programs, exports for a shell, a table for people."""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

SHELL_MARK = "LOCAL_STACK_SHELL"
"""Set in a shell with the settings of a running system: another one would take that one's servers for yours."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """All addresses and credentials of one running system."""

    kafka: str
    registry: str
    database: str  # as the owner; the services have a role that may less
    api: str
    gate: str
    status: str
    sandbox: str
    metrics: Mapping[str, str]  # by process: the address of /metrics and the health pages
    tenant: str
    api_key: str  # every scope
    check_key: str  # scope `check` alone
    keyring_file: str
    key_file: str  # the tenant's hash keys alone, for a process that only reads lists
    destinations_file: str
    topic_prefix: str
    logs: str
    pids: Mapping[str, int]
    settings: Mapping[str, str]  # for consent-relay commands, as the owner of the database
    sandbox_token: str = ""

    @property
    def sandbox_control(self) -> str:
        """The sandbox's address with the credentials of /_control, /_state and /_requests."""
        return self.sandbox.replace("://", f"://control:{self.sandbox_token}@", 1)

    def write(self, file: Path) -> None:
        """Replace the file as a whole; it holds secrets, so only its owner may read it."""
        _replace(file, json.dumps(asdict(self), indent=2) + "\n")

    def exports(self) -> str:
        """For a shell to evaluate: the variables that snippets of the documents name, `settings`, and the command."""
        named = {
            "API": self.api,
            "GATE": self.gate,
            "STATUS": self.status,
            "API_KEY": self.api_key,
            "CHECK_KEY": self.check_key,
            "KAFKA": self.kafka,
            "REGISTRY": self.registry,
            "KEY_FILE": self.key_file,
            SHELL_MARK: "1",
        }
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in {**named, **self.settings}.items()]
        return "".join([*lines, f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n'])

    @classmethod
    def read(cls, file: Path) -> Self:
        return cls(**json.loads(file.read_text()))

    def table(self) -> str:
        """For the terminal; secrets stay in the file."""
        rows = {
            "HTTP API": f"{self.api}  (description: {self.api}/docs)",
            "console": f"{self.api}/console  (sign in with the API key below)",
            "gate": f"{self.gate}/v1/check",
            "status page": f"{self.status}/status",
            "Kafka": self.kafka,
            "schema registry": self.registry,
            "PostgreSQL": _without_password(self.database),
            "provider sandbox": f"{self.sandbox}/_state  (user control, password: sandbox_token in endpoints.json)",
            "logs": self.logs,
        }
        rows |= {f"{name} metrics": f"{url}/metrics" for name, url in self.metrics.items()}
        width = max(map(len, rows))
        return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())


def _replace(file: Path, text: str) -> None:
    beside = file.with_suffix(".new")
    beside.touch(mode=0o600)
    beside.write_text(text)
    beside.replace(file)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme.partition('+')[0]}://{credentials.partition(':')[0]}{at}{host}"
