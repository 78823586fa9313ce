"""The tables of docs/security-settings.md, written from the code: ``python -m tests.contract.acl_table``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from consent_contracts.topics import Topics
from consent_kafka.access import COMMANDS, PROCESSES, required

_COMMANDS = {
    "topics": "`topics plan`, `apply`",
    "republish": "`republish`",
    "verify": "`verify`",
    "keyring": "`keyring promote`, `retire`",
    "dead-letters": "`dead-letters list`",
    "dead-letters-replay": "`dead-letters replay`",
    "destinations-forget": "`destinations forget`",
}
_PROCESSES = {"client": "a tool with `consent-relay-client`"}


def lines() -> Iterator[str]:
    """One table of the processes, one of the commands."""
    for title, names in (("process", PROCESSES), ("command", COMMANDS)):
        yield f"| {title} | resource | operations |"
        yield "|---|---|---|"
        for name in names:
            yield from _rows(name, _PROCESSES.get(name) or _COMMANDS.get(name) or f"`{name}`")
        yield ""


def _rows(name: str, shown: str) -> Iterator[str]:
    """One row for all resources of a kind with the same operations."""
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for acl in required(
        name, Topics(channels=("<channel>",), propagators=("<propagator>",)), propagator="<propagator>"
    ):
        ends = "..." if acl.prefixed else ""
        rows.setdefault((acl.resource, acl.operations), []).append(f"`{acl.name}{ends}`")
    for (resource, operations), names in rows.items():
        yield f"| {shown} | {resource} {', '.join(names)} | {', '.join(operations)} |"
        shown = ""


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())
