"""Acts of an operator on the installation, for services that have no ledger: the one that has it keeps the audit, and
registers itself by the entry point `consent_relay.audit`, as no service may import another."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol


class Record(Protocol):
    def __call__(self, act: str, *, tenant: str | None = None, object_id: str | None = None) -> None: ...


def record(act: str, *, tenant: str | None = None, object_id: str | None = None) -> None:
    """Write into the audit what a command is about to do. Raises click.ClickException where that is impossible."""
    (entry,) = entry_points(group="consent_relay.audit")
    write: Record = entry.load()
    write(act, tenant=tenant, object_id=object_id)
