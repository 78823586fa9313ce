"""deploy/images/Dockerfile and the bill of materials: what can be known of them without an engine that builds them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from consent_service.health import Health, serve_metrics
from tests.support.deployed import DOCKERFILE, ROOT, image_environment, metrics_port

LOCK = ROOT / "deploy" / "images" / "requirements.txt"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEXT = DOCKERFILE.read_text()
LINES = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ").strip() for line in LINES if line.startswith(f"{name} ")]


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def test_the_linter_of_dockerfiles_has_nothing_to_say() -> None:
    done = subprocess.run([tool("hadolint"), "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_base_image_is_a_variable_so_that_its_digest_can_be_given() -> None:
    stages = [re.fullmatch(r"(\S+) AS (\w+)", line) for line in instructions("FROM")]
    names: set[str] = set()
    for stage in stages:
        assert stage is not None
        assert stage[1] == "${PYTHON_IMAGE}" or stage[1] in names
        names.add(stage[2])
    last = stages[-1]
    assert last is not None
    assert last[2] == "production"
    assert instructions("ARG")[0].startswith("PYTHON_IMAGE=")


def test_the_user_is_a_number_that_is_not_root() -> None:
    [user] = instructions("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_the_labels_are_those_of_the_project() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', TEXT))
    assert labels["licenses"] == PROJECT["project"]["license"]
    assert {"title", "description", "version", "revision", "created", "base.name"} <= set(labels)
    assert f"VERSION={PROJECT['project']['version']}" in instructions("ARG")


def test_every_package_is_installed_by_its_hash() -> None:
    installs = [line for line in instructions("RUN") if "pip install" in line]
    assert len(installs) == 3
    assert all("--require-hashes" in line or re.search(r"--no-deps /wheels/\*\.whl$", line) for line in installs)


def test_the_sandbox_is_in_no_layer_of_the_production_image() -> None:
    production = TEXT.rpartition("FROM ")[2]
    assert production.splitlines()[1:] == ["COPY --from=pruned /opt/consent-relay /opt/consent-relay"]
    [removal] = [line for line in instructions("RUN") if line.startswith("rm -r")]
    assert set(re.findall(r"site-packages/(\w+)", removal)) == {"provider_sandbox", "local_stack"}


def test_what_it_copies_exists_and_reaches_the_engine() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    kept_out = [rule for rule in rules[1:] if not rule.startswith("!")]
    assert all((ROOT / each).exists() for each in sent)
    copied = [line.split()[0] for line in instructions("COPY") if not line.startswith("--from") and line != ". ."]
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for each in [*copied, *packages, "pyproject.toml", PROJECT["project"]["readme"]]:
        assert (ROOT / each).exists(), each
        assert any(each == root or each.startswith(f"{root}/") for root in sent), each
        assert not any(fnmatch(f"/{each}", rule.replace("**", "*")) for rule in kept_out), each


def test_health_is_asked_where_every_process_answers() -> None:
    [check] = instructions("HEALTHCHECK")
    url = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)
    assert url is not None
    assert int(url[1]) == metrics_port()
    assert image_environment()["CONSENT_RELAY_METRICS_HOST"] == "0.0.0.0"
    server = serve_metrics(CollectorRegistry(), Health(), "127.0.0.1", 0)
    try:
        assert httpx.get(f"http://127.0.0.1:{server.port}{url[2]}").status_code == 200
    finally:
        server.close()


@pytest.mark.long
def test_the_bill_of_materials_holds_every_package_of_the_lock(tmp_path: Path) -> None:
    """By the image's own command."""
    [build] = [line for line in instructions("RUN") if "cyclonedx-py" in line]
    words = shlex.split(build.partition("/tools/bin/cyclonedx-py ")[2])
    assert words[-2:] == ["--output-file", "/sbom.json"]
    subprocess.run(
        [tool("cyclonedx-py"), *words[:-1], tmp_path / "sbom.json"], cwd=ROOT, check=True, capture_output=True
    )
    document = json.loads((tmp_path / "sbom.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    about = document["metadata"]["component"]
    assert (about["name"], about["version"]) == (PROJECT["project"]["name"], PROJECT["project"]["version"])
    listed = {
        each["name"]: (
            each["version"],
            {hash_["content"] for link in each["externalReferences"] for hash_ in link.get("hashes", ())},
        )
        for each in document["components"]
    }
    locked = {
        name: (version, set(re.findall(r"sha256:([0-9a-f]{64})", rest)))
        for name, version, rest in re.findall(
            r"^([a-z0-9._-]+)==([^ ;\\]+)((?:.*\\\n)*.*)", LOCK.read_text(), re.MULTILINE
        )
    }
    assert len(locked) > 50
    assert all(hashes for _, hashes in locked.values())
    assert listed == locked


def test_the_make_target_writes_the_same_bill_of_materials() -> None:
    [build] = [line for line in instructions("RUN") if "cyclonedx-py" in line]
    words = shlex.split(build.partition("/tools/bin/cyclonedx-py ")[2])[:-1]
    recipe = (ROOT / "Makefile").read_text().partition("\nsbom:")[2].partition("\n\n")[0]
    assert words == shlex.split(recipe.replace("\\\n", " ").partition("cyclonedx-py ")[2])[: len(words)]
