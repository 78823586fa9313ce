"""An installation without processes, and `consent-relay doctor` over it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from sqlalchemy import URL, Engine, text

from consent_api.cli.doctor import doctor
from consent_contracts.topics import Topics


@dataclass(frozen=True, kw_only=True)
class Installation:
    """`service` is as the services connect, `owner` has every right. `directory` is the test's own."""

    topics: Topics
    kafka: str
    registry: str
    owner: Engine
    service: URL
    keyring: Path
    directory: Path

    @property
    def role(self) -> str:
        return str(self.service.username)

    @contextmanager
    def changed(self, change: str, undo: str) -> Iterator[None]:
        """Another statement undoes it after the block. Both may name {role} and {owner}."""
        with self.owner.connect() as connection:
            owner = connection.execute(text("SELECT current_user")).scalar_one()
            connection.execute(text(change.format(role=self.role, owner=owner)))
            try:
                yield
            finally:
                connection.execute(text(undo.format(role=self.role, owner=owner)))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one run printed, by the names of findings."""

    code: int
    findings: list[Mapping[str, Any]]

    def named(self, name: str) -> list[Mapping[str, Any]]:
        return [each for each in self.findings if each["name"] == name]

    def one(self, name: str) -> Mapping[str, Any]:
        [found] = self.named(name)
        return found

    @property
    def faults(self) -> set[str]:
        """The names of the findings that make the exit code 2."""
        return {each["name"] for each in self.findings if each["result"] in ("fault", "not checked")}


def run(*arguments: str) -> Report:
    """`consent-relay doctor --json` in the environment as it is."""
    ended = CliRunner().invoke(doctor, ["--json", *arguments], catch_exceptions=False)
    document = json.loads(ended.stdout)
    assert document["exit_code"] == ended.exit_code
    return Report(code=ended.exit_code, findings=document["findings"])
