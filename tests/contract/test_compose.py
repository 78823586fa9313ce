"""docker-compose.yml against the code: commands, settings, ports and files that it names exist."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.inbound.providers.base import Account, Kind, Webhook
from consent_api.inbound.sources import Source, read_sources
from consent_api.settings import ApiSettings, OwnerSettings
from consent_service.settings import PREFIX, ProcessSettings
from propagator.config.reader import read
from propagator.connectors import CATALOGUE
from tests.support.compose import COMPOSE, OURS, SERVICES, environment, seconds
from tests.support.deployed import (
    LASTING,
    PREPARATIONS,
    PROCESSES,
    ROOT,
    STOP_SECONDS,
    command_of,
    faults,
    metrics_port,
    unknown_options,
    variables,
)
from tests.support.foreign_runtimes import runtime

WEBHOOKS: dict[str, type[ProcessSettings]] = {"webhooks": ApiSettings}
"""An API for the webhooks of tools alone."""
RUNNING = {**LASTING, **WEBHOOKS}
SETTINGS: dict[str, type[ProcessSettings]] = {
    **RUNNING,
    **PREPARATIONS,
    "gate-keys": OwnerSettings,
    "status-keys": OwnerSettings,
}


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


COMMANDS = re.findall(r"(?:gate|status)-keys (keys create .*)", (ROOT / "docker-compose.yml").read_text())


@pytest.mark.parametrize("line", COMMANDS)
def test_the_instructions_make_keys_by_commands_that_exist(line: str) -> None:
    assert unknown_options(shlex.split(line)) == []


def test_all_servers_and_services_are_there() -> None:
    assert {"kafka", "registry", "postgres", "prometheus"} < set(SERVICES)
    assert set(SETTINGS) | {"keyring", "sandbox"} == set(OURS)


@pytest.mark.parametrize("service", [name for name in OURS if "entrypoint" not in OURS[name]])
def test_its_command_and_options_exist(service: str) -> None:
    assert unknown_options(list(OURS[service]["command"])) == []


def test_the_keyring_is_made_by_commands_that_exist() -> None:
    [script] = OURS["keyring"]["command"]
    for name, words in zip(("generate", "export"), re.findall(r"consent-relay (keyring [^)&]+)", script), strict=True):
        command, _ = command_of(words.split())
        assert command.name == name


def test_the_gate_is_given_hash_keys_alone() -> None:
    assert OURS["gate"]["volumes"] == ["gate:/run/consent-relay:ro"]
    assert "/run/consent-relay-gate/keyring.toml --hash-only" in " ".join(OURS["keyring"]["command"][0].split())


@pytest.mark.parametrize("service", SETTINGS)
def test_its_settings_exist_and_suffice(service: str, tmp_path: Path) -> None:
    given = {name: value for name, value in environment(service).items() if name.startswith(PREFIX)}
    assert set(given) <= variables(SETTINGS[service])
    assert faults(SETTINGS[service], given, tmp_path) == []


@pytest.mark.parametrize("service", [*PROCESSES, *WEBHOOKS])
def test_it_is_published_at_the_port_where_it_answers_requests(service: str) -> None:
    [process] = OURS[service]["command"]
    port = environment(service).get(f"CONSENT_RELAY_{process.upper()}_PORT")
    assert OURS[service].get("ports", []) == ([] if port is None else [f"127.0.0.1:{port}:{port}"])


@pytest.mark.parametrize("service", RUNNING)
def test_its_health_is_asked_where_it_answers(service: str) -> None:
    assert f"127.0.0.1:{metrics_port()}/readyz" in " ".join(OURS[service]["healthcheck"]["test"])


@pytest.mark.parametrize("service", sorted(OURS.keys() - RUNNING.keys() - {"sandbox"}))
def test_what_ends_by_itself_is_not_asked_for_its_health(service: str) -> None:
    assert OURS[service]["healthcheck"] == {"disable": True}
    assert OURS[service]["restart"] == "no"


@pytest.mark.parametrize("service", OURS)
def test_it_can_write_its_volumes_alone_and_gain_no_right(service: str) -> None:
    ours = OURS[service]
    assert (ours["read_only"], ours["cap_drop"], ours["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert "privileged" not in ours
    writable = {volume.partition(":")[2] for volume in ours.get("volumes", ()) if not volume.endswith(":ro")}
    state = {"/var/lib/consent-relay"} if service in ("suppression", "propagator") else set()
    secrets = {
        "keyring": {"/run/consent-relay", "/run/consent-relay-gate"},
        "gate-keys": {"/run/consent-relay-gate"},
        "status-keys": {"/run/consent-relay-status"},
    }
    assert writable == state | secrets.get(service, set())


@pytest.mark.parametrize("service", SERVICES)
def test_it_has_limits(service: str) -> None:
    assert set(SERVICES[service]["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert "no-new-privileges:true" in SERVICES[service]["security_opt"]


@pytest.mark.parametrize(("service", "longest"), STOP_SECONDS.items())
def test_it_may_finish_before_it_is_killed(service: str, longest: float) -> None:  # R41
    assert seconds(OURS[service]["stop_grace_period"]) >= longest + 15


@pytest.mark.parametrize("service", ["ingest", "suppression", "propagator"])
def test_its_name_in_its_consumer_group_outlives_the_container(service: str) -> None:
    assert environment(service)["CONSENT_RELAY_INSTANCE_ID"] == service


@pytest.mark.parametrize("service", SERVICES)
def test_what_it_waits_for_exists(service: str) -> None:
    for other, wanted in SERVICES[service].get("depends_on", {}).items():
        assert other in SERVICES
        if wanted["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("service", sorted(OURS.keys() - RUNNING.keys() - {"sandbox", "migrate"}))
def test_what_it_changes_is_in_the_audit(service: str) -> None:
    given = environment(service)
    assert {f"CONSENT_RELAY_API_{name}" for name in ("DATABASE", "DATABASE_OWNER")} & given.keys()
    assert OURS[service]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


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


def test_prometheus_asks_every_process() -> None:
    file = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {target for job in file["scrape_configs"] for each in job["static_configs"] for target in each["targets"]}
    assert targets == {f"{name}:{metrics_port()}" for name in RUNNING}


def test_the_status_page_asks_what_prometheus_asks() -> None:
    shown = environment("status")["CONSENT_RELAY_STATUS_TARGETS"].split(",")
    asked = {f"{name}=http://{name}:{metrics_port()}" for name in [*PROCESSES, *WEBHOOKS]}
    assert {each.strip() for each in shown} == asked


def test_the_destinations_are_right() -> None:
    declared = read(
        ROOT / "deploy/images/destinations.yaml",
        catalogue=CATALOGUE,
        channels=("sms", "email", "voice"),
        keyring=None,
        environ=environment("propagator"),
    )
    assert {each.channel for each in declared} == {"sms", "email", "voice"}


def sources_of(service: str) -> dict[str, Source]:
    """Those of the compose file, as the service reads them."""
    given = environment(service)
    mounted = dict(volume.removesuffix(":ro").split(":") for volume in OURS[service]["volumes"])
    [file] = [at for at, there in mounted.items() if there == given["CONSENT_RELAY_INBOUND_FILE"]]
    purposes = Purposes(declared=frozenset(given["CONSENT_RELAY_PURPOSES"].split(",")))
    rules = ValidationRules(channels=("sms", "email", "voice"), default_region="FR", purposes=purposes)
    return read_sources(ROOT / file, tenants=("acme",), rules=rules, environ=given)


def test_both_apis_take_the_webhooks_of_the_same_tool() -> None:
    assert sources_of("api") == sources_of("webhooks")
    [source] = sources_of("webhooks").values()
    assert (source.id, source.provider) == ("crm", "generic")
    declared = yaml.safe_load((ROOT / "deploy/images/destinations.yaml").read_text())["destinations"]
    [destination] = [each for each in declared if each["name"] == source.destination]
    assert (destination["tenant"], destination["channel"]) == (source.tenant, source.channel)


def test_the_instructions_send_a_webhook_that_is_signed(tmp_path: Path) -> None:
    runtime("openssl")
    header = (ROOT / "docker-compose.yml").read_text().split("\nx-hardened:")[0]
    [script] = re.findall(r"^#   (body=.*?)^#$", header, re.MULTILINE | re.DOTALL)
    curl, sent = tmp_path / "curl", tmp_path / "sent"
    curl.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > {shlex.quote(str(sent))}\n')
    curl.chmod(0o755)
    paths = f"{tmp_path}:{os.environ['PATH']}"
    script = re.sub(r"^#  ", "", script, flags=re.MULTILINE)
    subprocess.run(["sh", "-eu", "-c", script], env={"PATH": paths}, check=True, timeout=30)
    words = sent.read_text().split("\0")[:-1]
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    webhook = Webhook(query="", headers=headers, body=words[words.index("--data") + 1].encode())
    url = httpx.URL(next(word for word in words if word.startswith("http")))
    source = sources_of("webhooks")[url.path.removeprefix("/v1/inbound/")]
    assert OURS["webhooks"]["ports"] == [f"{url.host}:{url.port}:{url.port}"]
    read = source.called.read(webhook, Account(secrets=source.keys), int(time.time()))
    assert [(each.kind, each.address) for each in read.events] == [(Kind.OPT_OUT, "person@example.com")]


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
