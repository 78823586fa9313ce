"""A register of oppositions for the running system of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from consent_client import registers
from local_stack.endpoints import Endpoints

SETTING, GATE_SETTING = "CONSENT_RELAY_REGISTERS_FILE", "CONSENT_RELAY_GATE_REGISTERS_FILE"
NAME = "tps"
PURPOSE = "telemarketing"
"""No other test uses it."""
ADDRESSES = tuple(f"+3363998777{number}" for number in range(10))


def write(directory: Path) -> Path:
    """The file for CONSENT_RELAY_REGISTERS_FILE, and beside it a file of the register."""
    of_register = directory / "tps.txt"
    of_register.write_text("".join(f"{address}\n" for address in ADDRESSES))
    declared = directory / "registers.yaml"
    register = {"name": NAME, "channels": ["voice"], "purposes": [PURPOSE], "max_age_days": 28}
    declared.write_text(yaml.safe_dump({"registers": [register]}))
    return declared


def write_exported(directory: Path) -> Path:
    """The file for CONSENT_RELAY_GATE_REGISTERS_FILE: of no register, until one is exported."""
    exported = directory / "exported-registers.json"
    registers.write(exported, [])
    return exported


def file_of(endpoints: Endpoints) -> Path:
    """That of the register."""
    return Path(endpoints.settings[SETTING]).with_name("tps.txt")


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def load(endpoints: Endpoints) -> None:
    """The register, as of today."""
    _run(endpoints, "load", NAME, str(file_of(endpoints)), "--no-header", "--as-of", today())


def export(endpoints: Endpoints) -> None:
    """To the file of the gate."""
    _run(endpoints, "export", endpoints.settings[GATE_SETTING])


def _run(endpoints: Endpoints, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "consent_service", "registers", *words],
        env={**os.environ, **endpoints.settings},
        timeout=120,
        check=True,
    )
