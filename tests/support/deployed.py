"""What Compose and Kubernetes give a process, against the command line, the settings and the image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import click
from pydantic import SecretStr, ValidationError

from consent_api import runtime
from consent_api.http import app as api_app
from consent_api.settings import ApiSettings, IngestSettings, LedgerSettings, MigrateSettings, OutboxRelaySettings
from consent_kafka.transport import timing
from consent_service.cli import cli
from consent_service.settings import PREFIX, ProcessSettings
from lag_exporter.settings import LagSettings
from propagator.settings import PropagatorSettings
from status_page.settings import StatusSettings
from suppression.gate import run as gate_run
from suppression.gate.settings import GateSettings
from suppression.settings import SuppressionSettings
from tests.support.certificates import Authority

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "images" / "Dockerfile"
PROCESSES: dict[str, type[ProcessSettings]] = {
    "api": ApiSettings,
    "relay": OutboxRelaySettings,
    "ingest": IngestSettings,
    "suppression": SuppressionSettings,
    "gate": GateSettings,
    "propagator": PropagatorSettings,
    "lag": LagSettings,
}
LASTING: dict[str, type[ProcessSettings]] = {**PROCESSES, "status": StatusSettings}
"""All that go on running; the last one shows the others."""
PREPARATIONS: dict[str, type[ProcessSettings]] = {"migrate": MigrateSettings, "topics": LedgerSettings}
OF_LIBRARIES = {"FORWARDED_ALLOW_IPS"}
"""Read by uvicorn: whose X-Forwarded-For counts."""


def _default(settings: type[ProcessSettings], name: str) -> float:
    return float(settings.model_fields[name].default)


STOP_SECONDS = {
    "api": _default(ApiSettings, "api_shutdown_delay") + api_app.REQUESTS_SECONDS + api_app.MONITORS_SECONDS,
    "relay": runtime.GRACE_SECONDS,
    "ingest": runtime.GRACE_SECONDS,
    "suppression": timing.STOP_SECONDS,
    "gate": _default(GateSettings, "gate_shutdown_delay") + gate_run.REQUESTS_SECONDS,
    "propagator": timing.STOP_SECONDS,
}
"""A process that was asked to end has ended by then."""


def image_environment() -> dict[str, str]:
    """What the image sets for every process."""
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    [words] = [line.removeprefix("ENV ").split() for line in lines if line.startswith("ENV ")]
    return dict(word.split("=", 1) for word in words)


def metrics_port() -> int:
    return int(image_environment()["CONSENT_RELAY_METRICS_PORT"])


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, with what is left of them for it."""
    with click.Context(cli) as context:
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            assert found is not None, f"there is no command {words[0]}"
            command, words = found, words[1:]
        return command, words


def unknown_options(words: list[str]) -> list[str]:
    """The options among the words that their command does not have."""
    command, rest = command_of(words)
    assert not isinstance(command, click.Group), words
    known = {option for each in command.params for option in each.opts}
    return sorted({word for word in rest if word.startswith("--")} - known)


def variables(settings: type[ProcessSettings]) -> set[str]:
    """The names by which a process reads its settings."""
    return {f"{PREFIX}{field.upper()}{suffix}" for field in settings.model_fields for suffix in ("", "_FILE")}


def secrets_in_clear(settings: type[ProcessSettings], given: Mapping[str, str]) -> list[str]:
    """The variables that hold a secret themselves, instead of the path of a file."""
    secret = {
        f"{PREFIX}{name.upper()}" for name, field in settings.model_fields.items() if _holds_secret(field.annotation)
    }
    return sorted(secret & set(given))


def faults(settings: type[ProcessSettings], given: Mapping[str, str], directory: Path) -> list[str]:
    """What is wrong with the variables, as the process would report it. Files that only exist in the container are
    in the directory here, with contents of their kind."""
    file = directory / "file"
    file.write_text("postgresql://role:password@host/database")
    themes = directory / "themes"
    themes.write_text("{}")
    of_their_kind = {"SSL_CA_FILE": Authority.create(directory, "an-authority").file, "THEME_FILE": themes}
    here = {
        name: str(next((at for end, at in of_their_kind.items() if name.endswith(end)), file))
        if value.startswith("/")
        else value
        for name, value in given.items()
    }
    nothing: dict[str, Any] = {}
    with mock.patch.dict(os.environ, here, clear=True):
        try:
            settings(**nothing)
        except ValidationError as error:
            return [f"{each['loc']}: {each['msg']}" for each in error.errors(include_input=False)]
    return []


def paths(given: Mapping[str, str]) -> Iterator[str]:
    """The files and directories that the variables name."""
    yield from (value for name, value in given.items() if name.startswith(PREFIX) and value.startswith("/"))


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())
