"""docker-compose.yml against the code: commands, settings, ports and files that it names exist."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
import yaml
from pydantic import ValidationError

from consent_api.settings import ApiSettings, IngestSettings, MigrateSettings, OutboxRelaySettings, OwnerSettings
from consent_service.cli import cli
from consent_service.settings import PREFIX, ProcessSettings
from lag_exporter.settings import LagSettings
from propagator.config.reader import read
from propagator.connectors import CATALOGUE
from propagator.settings import PropagatorSettings
from suppression.gate.settings import GateSettings
from suppression.settings import SuppressionSettings

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, type[ProcessSettings]] = {
    "api": ApiSettings,
    "relay": OutboxRelaySettings,
    "ingest": IngestSettings,
    "suppression": SuppressionSettings,
    "gate": GateSettings,
    "propagator": PropagatorSettings,
    "lag": LagSettings,
    "migrate": MigrateSettings,
    "topics": ProcessSettings,
    "gate-keys": OwnerSettings,
}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("consent-relay")}


def text_of(value: str) -> str:
    """`${NAME:-default}` as Compose would write it where NAME is not set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


def environment(service: str) -> dict[str, str]:
    return {name: text_of(value) for name, value in OURS[service].get("environment", {}).items()}


def commands(words: list[str]) -> Iterator[tuple[click.Command, list[str]]]:
    """The command that the words name, with what is left of them for it."""
    with click.Context(cli) as context:
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            assert found is not None, f"there is no command {words[0]}"
            command, words = found, words[1:]
        yield command, words


def test_the_loader_of_docker_compose_accepts_it() -> None:
    """`config` needs no engine; the program is the real one, from its package."""
    program = Path(sys.executable).with_name("docker-compose")
    file = ROOT / "docker-compose.yml"
    done = subprocess.run([program, "--file", file, "config", "--format", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)


def test_kafka_and_the_registry_can_be_used_from_the_host() -> None:
    kafka, registry = SERVICES["kafka"], SERVICES["registry"]
    assert "HOST://127.0.0.1:29092" in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert kafka["ports"] == ["127.0.0.1:29092:29092"]
    assert registry["ports"] == ["127.0.0.1:8081:8080"]
    assert "/dev/tcp/127.0.0.1/8080" in registry["healthcheck"]["test"][-1]


@pytest.mark.parametrize("line", re.findall(r"gate-keys (keys create .*)", (ROOT / "docker-compose.yml").read_text()))
def test_the_instructions_make_keys_by_commands_that_exist(line: str) -> None:
    [(command, rest)] = commands(shlex.split(line))
    known = {option for each in command.params for option in each.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_all_servers_and_services_are_there() -> None:
    assert {"kafka", "registry", "postgres", "prometheus"} < set(SERVICES)
    assert set(SETTINGS) | {"keyring", "sandbox"} == set(OURS)


@pytest.mark.parametrize("service", [name for name in OURS if "entrypoint" not in OURS[name]])
def test_its_command_and_options_exist(service: str) -> None:
    [(command, rest)] = commands(list(OURS[service]["command"]))
    assert not isinstance(command, click.Group)
    known = {option for each in command.params for option in each.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_the_keyring_is_made_by_commands_that_exist() -> None:
    [script] = OURS["keyring"]["command"]
    for name, words in zip(("generate", "export"), re.findall(r"consent-relay (keyring [^)&]+)", script), strict=True):
        [(command, _)] = commands(words.split())
        assert command.name == name


def test_the_gate_is_given_hash_keys_alone() -> None:
    assert OURS["gate"]["volumes"] == ["gate:/run/consent-relay:ro"]
    assert "/run/consent-relay-gate/keyring.toml --hash-only" in " ".join(OURS["keyring"]["command"][0].split())


@pytest.mark.parametrize("service", SETTINGS)
def test_its_settings_exist_and_suffice(service: str, tmp_path: Path) -> None:
    """Read as the process would read them; files that only exist in the container are in a directory here."""
    given = {name: value for name, value in environment(service).items() if name.startswith(PREFIX)}
    fields = {f"{PREFIX}{field.upper()}" for field in SETTINGS[service].model_fields}
    assert set(given) <= fields, f"{service} knows no {sorted(set(given) - fields)}"
    file = tmp_path / "file"
    file.touch()
    here = {name: str(file) if value.startswith("/") else value for name, value in given.items()}
    nothing: dict[str, Any] = {}
    with mock.patch.dict(os.environ, here, clear=True):
        try:
            SETTINGS[service](**nothing)
        except ValidationError as error:
            pytest.fail(f"{service}: {error}")


@pytest.mark.parametrize("service", [name for name in OURS if "healthcheck" in OURS[name]])
def test_its_health_is_asked_where_it_answers(service: str) -> None:
    port = environment(service)["CONSENT_RELAY_METRICS_PORT"]
    assert f"127.0.0.1:{port}/readyz" in " ".join(OURS[service]["healthcheck"]["test"])


@pytest.mark.parametrize("service", SERVICES)
def test_what_it_waits_for_exists(service: str) -> None:
    for other, wanted in SERVICES[service].get("depends_on", {}).items():
        assert other in SERVICES
        if wanted["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("service", SERVICES)
def test_the_files_and_volumes_it_mounts_exist(service: str) -> None:
    for volume in SERVICES[service].get("volumes", []):
        source = volume.partition(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("service", SERVICES)
def test_it_listens_on_this_machine_alone(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_the_sandbox_is_no_part_of_the_production_image() -> None:
    assert OURS["sandbox"]["image"] == "consent-relay-demo"
    assert all(service["image"] == "consent-relay" for name, service in OURS.items() if name != "sandbox")
    last = (ROOT / "deploy/images/Dockerfile").read_text().rpartition("FROM ")[2]
    assert "rm -r provider_sandbox local_stack" in last


def test_prometheus_asks_every_process() -> None:
    file = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {target for job in file["scrape_configs"] for each in job["static_configs"] for target in each["targets"]}
    asked = {
        f"{name}:{environment(name)['CONSENT_RELAY_METRICS_PORT']}" for name in OURS if "healthcheck" in OURS[name]
    }
    assert targets == asked


def test_the_destinations_are_right() -> None:
    declared = read(
        ROOT / "deploy/images/destinations.yaml",
        catalogue=CATALOGUE,
        channels=("sms", "email", "voice"),
        keyring=None,
        environ=environment("propagator"),
    )
    assert {each.channel for each in declared} == {"sms", "email", "voice"}


def test_the_image_installs_the_versions_that_are_tested() -> None:
    """The image leaves out the optional packages; mend with the command in its requirements' second line."""

    def pins(file: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", file.read_text(), re.MULTILINE))

    image = pins(ROOT / "deploy/images/requirements.txt")
    tested = pins(ROOT / "requirements.txt")
    assert len(image) > 50
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}


@pytest.mark.long
def test_the_help_needs_no_server() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consent_service", "up", "--help"], capture_output=True, text=True, check=True
    )
    assert "CONSENT_RELAY_DATABASE" in done.stdout
