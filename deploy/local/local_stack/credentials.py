"""The secrets of one local system: the keyring, the services' database role, the API keys."""

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from consent_privacy.keyring_file import export, generate
from local_stack.processes import run_cli

TENANT = "acme"
GATE_KEYS = "gate-keys.json"
STATUS_KEYS = "status-keys.json"
SCOPES = ("submit", "read", "check", "links", "admin", "rights:read", "rights:write", "console", "operate")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What is kept from start to start beside the data it opens."""

    role: str
    password: str
    api_key: str
    check_key: str
    scopes: Sequence[str] = ()  # of api_key; an earlier version's has fewer

    @classmethod
    def read(cls, file: Path) -> Self | None:
        return cls(**json.loads(file.read_text())) if file.exists() else None

    def write(self, file: Path) -> None:
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")


def ensure_keyring(file: Path, gate: Path) -> None:
    """A keyring for the tenant, generated once: without it the stored addresses could not be opened. What the gate
    needs of it goes to `gate`."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        generate(file, [TENANT])
    gate.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    export(file, gate, [TENANT], hash_only=True)


def open_ledger(directory: Path, which: str, owner_url: str) -> Credentials:
    """Bring the database at `owner_url` up to date, with a role and API keys kept in `directory` per `which`.

    Also writes the digests that the gate checks `check_key` against to GATE_KEYS in `directory`, and those that the
    status page checks `api_key` against to STATUS_KEYS.
    """
    file = directory / f"access-{sha256(which.encode()).hexdigest()[:12]}.json"
    known = Credentials.read(file)
    role, password = (known.role, known.password) if known else _new_role(owner_url)
    settings = os.environ | {
        "CONSENT_RELAY_API_DATABASE_OWNER": owner_url,
        "CONSENT_RELAY_API_DATABASE": service_url(owner_url, role, password),
    }
    is_current = known is not None and tuple(known.scopes) == SCOPES
    wanted = [] if is_current else [_new_key("local stack", SCOPES), _new_key("local stack, check only", ("check",))]
    exports = [
        ["keys", "export", "--scope", scope, str(directory / name)]
        for scope, name in (("check", GATE_KEYS), ("operate", STATUS_KEYS))
    ]
    printed = run_cli.run([["migrate"], *wanted, *exports], settings)
    if known is None or not is_current:
        known = Credentials(role=role, password=password, api_key=printed[1], check_key=printed[2], scopes=SCOPES)
        known.write(file)
    return known


def service_url(owner_url: str, role: str, password: str) -> str:
    """The owner's URL with the services' role in it."""
    scheme, _, rest = owner_url.partition("://")
    return f"{scheme}://{role}:{password}@{rest.rpartition('@')[2]}"


def _new_role(owner_url: str) -> tuple[str, str]:
    """A name and a password for the services' role; roles belong to the server, so the name is one of a kind."""
    database = owner_url.rpartition("/")[2].partition("?")[0]
    return f"{database}_{secrets.token_hex(3)}", secrets.token_urlsafe(24)


def _new_key(name: str, scopes: tuple[str, ...]) -> list[str]:
    wanted = [part for scope in scopes for part in ("--scope", scope)]
    return ["keys", "create", "--tenant", TENANT, "--name", name, *wanted]
