"""docs/settings.md, written from the settings: ``python -m tests.contract.settings_page > docs/settings.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from consent_api.settings import ApiSettings, IngestSettings, MigrateSettings, OutboxRelaySettings
from consent_service.settings import PREFIX, ProcessSettings
from lag_exporter.settings import LagSettings
from propagator.settings import PropagatorSettings
from status_page.settings import StatusSettings
from suppression.gate.settings import GateSettings
from suppression.settings import SuppressionSettings

INTRO = """\
# Settings

Each is an environment variable, or a file that the variable with `_FILE` at its end names (how orchestrators hand over
secrets). A value that cannot be used, or a misspelt variable `CONSENT_RELAY_...`, ends the process with code 2 and one
line a variable. Commands such as `verify`, `republish` and `dead-letters` read the same; their `--help` names what they
require.

This page is written from the code, and a test holds it to that:
`python -m tests.contract.settings_page > docs/settings.md`."""

PROCESSES: dict[str, type[ProcessSettings]] = {
    "api": ApiSettings,
    "relay": OutboxRelaySettings,
    "ingest": IngestSettings,
    "suppression": SuppressionSettings,
    "gate": GateSettings,
    "propagator": PropagatorSettings,
    "lag": LagSettings,
    "status": StatusSettings,
}


def collected() -> dict[tuple[str, ...], dict[str, tuple[str, str]]]:
    """(default, meaning) of each variable, grouped by the processes that read it: those of all of them first."""
    readers: dict[str, dict[str, FieldInfo]] = {}
    for process, settings in PROCESSES.items():
        for name, field in settings.model_fields.items():
            readers.setdefault(name, {})[process] = field
    for name in sorted(MigrateSettings.model_fields.keys() - ProcessSettings.model_fields.keys()):
        readers.setdefault(name, {})["migrate"] = MigrateSettings.model_fields[name]
    groups: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {}
    for name, by_process in readers.items():
        shown = {process: _default(name, field) for process, field in by_process.items()}
        same = len(set(shown.values())) == 1
        default = next(iter(shown.values())) if same else ", ".join(f"{p} {value}" for p, value in shown.items())
        meaning = next(field.description for field in by_process.values()) or ""
        groups.setdefault(tuple(by_process), {})[f"{PREFIX}{name.upper()}"] = default, meaning
    return dict(sorted(groups.items(), key=lambda group: -len(group[0])))


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield from INTRO.splitlines()
    for processes, settings in collected().items():
        yield ""
        yield f"## {'every process' if processes == tuple(PROCESSES) else ', '.join(processes)}"
        yield ""
        yield "| variable | default | what |"
        yield "|---|---|---|"
        for variable, (default, meaning) in settings.items():
            yield f"| `{variable}` | {default} | {meaning} |"


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if name == "instance_id":
        return "the host's name and the process"
    value = field.default
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, Path):
        value = str(value)
    return "-" if value is None or value == "" else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())
