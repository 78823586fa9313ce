"""The secrets of one local system: the keyring, the services' database role, the API keys."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from consent_runtime.keyring_file import generate
from local_stack.errors import StartFailed

TENANT = "acme"
GATE_KEYS = "gate-keys.json"
SCOPES = ("submit", "read", "check", "admin")


@dataclass(frozen=True, kw_only=True)
class Access:
    """What is kept from start to start beside the data it opens."""

    role: str
    password: str
    api_key: str
    check_key: str

    @classmethod
    def read(cls, file: Path) -> Self | None:
        return cls(**json.loads(file.read_text())) if file.exists() else None

    def write(self, file: Path) -> None:
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")


def ensure_keyring(file: Path) -> None:
    """A keyring for the tenant, generated once: without it the stored addresses could not be opened."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        generate(file, [TENANT])


def open_ledger(directory: Path, which: str, owner_url: str) -> Access:
    """Bring the database at `owner_url` up to date, with a role and API keys kept in `directory` per `which`.

    Also writes the digests that the gate checks `check_key` against to GATE_KEYS in `directory`.
    """
    file = directory / f"access-{sha256(which.encode()).hexdigest()[:12]}.json"
    known = Access.read(file)
    role, password = (known.role, known.password) if known else _new_role(owner_url)
    settings = os.environ | {
        "CONSENT_RELAY_API_DATABASE_OWNER": owner_url,
        "CONSENT_RELAY_API_DATABASE": service_url(owner_url, role, password),
    }
    _run(["migrate"], settings)
    if known is None:
        known = Access(
            role=role,
            password=password,
            api_key=_create_key(settings, "local stack", SCOPES),
            check_key=_create_key(settings, "local stack, check only", ("check",)),
        )
        known.write(file)
    _run(["keys", "export", "--scope", "check", str(directory / GATE_KEYS)], settings)
    return known


def service_url(owner_url: str, role: str, password: str) -> str:
    """The owner's URL with the services' role in it."""
    scheme, _, rest = owner_url.partition("://")
    return f"{scheme}://{role}:{password}@{rest.rpartition('@')[2]}"


def _new_role(owner_url: str) -> tuple[str, str]:
    """A name and a password for the services' role; roles belong to the server, so the name is one of a kind."""
    database = owner_url.rpartition("/")[2].partition("?")[0]
    return f"{database}_{secrets.token_hex(3)}", secrets.token_urlsafe(24)


def _create_key(settings: Mapping[str, str], name: str, scopes: tuple[str, ...]) -> str:
    wanted = [part for scope in scopes for part in ("--scope", scope)]
    return _run(["keys", "create", "--tenant", TENANT, "--name", name, *wanted], settings)


def _run(arguments: list[str], settings: Mapping[str, str]) -> str:
    """What `consent-relay <arguments>` prints. Raises StartFailed with what it complains of."""
    result = subprocess.run(
        [sys.executable, "-m", "consent_runtime", *arguments],
        env=dict(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise StartFailed(
            name=f"consent-relay {' '.join(arguments[:2])}",
            why=f"ended with exit code {result.returncode}",
            log=Path("its output"),
            tail=result.stderr,
        )
    return result.stdout.strip()
