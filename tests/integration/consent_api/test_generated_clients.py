"""Clients that others generate from /openapi.json compile, and send the bodies of the README (R15)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_client import Answer
from consent_http import http_server
from consent_http.api_keys import ApiKey
from consent_service.clock import now_micros
from consent_service.health import Health
from local_stack.servers.java import BRIEF, java
from local_stack.servers.packages import installed
from suppression.gate.app import create_app as create_gate
from suppression.gate.contract import CheckRequest
from suppression.gate.metrics import GateMetrics
from tests.contract.test_foreign_readers import JavaTool
from tests.support.foreign_runtimes import runtime

README = Path(__file__).parents[3] / "README.md"
CLIENTS = Path(__file__).with_name("clients")
CHANNELS = ("sms", "email", "voice")
PUBLIC_URL = "https://choices.example.com"
PRINTED = [
    *("recorded in_effect given", "recorded in_effect withdrawn"),
    *("recorded", "recorded", "refused unknown_channel"),
    f"{PUBLIC_URL}/u/ List-Unsubscribe=One-Click",
    "false withdrawn",
    *("0 unknown", "1 unknown", "0 unknown"),
    "422 unknown_channel",
]
TYPES = {
    "decisions": ("relay", "SubmittedDecision"),
    "batch": ("relay", "SubmittedBatch"),
    "links": ("relay", "LinksRequest"),
    "explain": ("relay", "ExplainRequest"),
    "check": ("gate", "CheckRequest"),
}
"""By the last word of a path, what is sent there."""
GENERATED = {
    "apiTests": "false",
    "modelTests": "false",
    "apiDocs": "false",
    "modelDocs": "false",
}


class NoDecisions:
    """A gate whose list is empty."""

    async def caller(self, authorization: str | None) -> ApiKey:
        return ApiKey(id="k", digest="", tenant="acme", scopes=frozenset({"check"}))

    async def check(self, caller: ApiKey, request: CheckRequest, authorization: str) -> Sequence[Answer]:
        now = now_micros()
        denied = Answer(permitted=False, reason="unknown", as_of=now, valid_until=now, valid_until_elapsed=0)
        return [denied] * len(request.addresses or ())


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Its URL: generated clients have transports of their own."""
    server = uvicorn.Server(http_server.config(app, host="127.0.0.1", port=0, grace_seconds=1))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline, "the server has not started"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def urls(ledger: Ledger, api_key: str) -> Iterator[dict[str, str]]:
    api = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=CHANNELS),
        health=Health(),
        public_url=PUBLIC_URL,
    )
    gate = create_gate(NoDecisions(), GateMetrics.on(CollectorRegistry()))  # type: ignore[arg-type]
    with served(api) as api_url, served(gate) as gate_url:
        yield {"relay": api_url, "gate": gate_url}


@pytest.fixture
def documents(urls: dict[str, str], tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, url in urls.items():
        found[name] = tmp_path / f"{name}.json"
        found[name].write_bytes(httpx.get(f"{url}/openapi.json", timeout=30).raise_for_status().content)
    return found


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    """All bodies that the README sends, in their order: for each path a file with a list."""
    text = README.read_text("utf-8")
    shown: dict[str, list[Any]] = {name: [] for name in TYPES}
    for name, body in re.findall(r"curl -s \"\$[A-Z]+/v1/[\w/]*?(\w+)\"(?:(?!```).)*?-d '(\{.*?\})'", text, re.DOTALL):
        shown[name].append(json.loads(body))
    assert sum(map(len, shown.values())) == text.count("-d '{")
    directory = tmp_path / "bodies"
    directory.mkdir()
    for name, sent in shown.items():
        (directory / f"{name}.json").write_text(json.dumps(sent))
    return directory


def run(command: Sequence[object], **options: Any) -> str:
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_client_in_python(
    urls: dict[str, str], documents: dict[str, Path], bodies: Path, api_key: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))  # It would format what it makes.
    packages = tmp_path / "packages"
    packages.mkdir()
    for name, document in documents.items():
        generate = [sys.executable, "-m", "openapi_python_client", "generate", "--path", document, "--meta", "none"]
        output = packages / f"{name}_client"
        said = run([*generate, "--fail-on-warning", "--config", config, "--output-path", output])
        assert "arning" not in said
    arguments = [urls["relay"], api_key, urls["gate"], bodies]
    used = [sys.executable, "-W", "error", CLIENTS / "client.py", *arguments]
    assert run(used, env={"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}).splitlines() == PRINTED


class GeneratedClient(JavaTool):
    """With what clients of openapi-generator need, and the generator."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._jars = {each.name.partition("-")[0]: each for each in installed("openapi").glob("*.jar")}
        self._path = ":".join([*map(str, installed("openapi").glob("*.jar")), str(self._classes)])

    def generate(self, name: str, document: Path, output: Path) -> Path:
        packages = {f"{kind}Package": f"{name}.{package}" for kind, package in PACKAGES.items()}
        options = {**packages, "openApiNullable": "false", "useJakartaEe": "true", "hideGenerationTimestamp": "true"}
        run(
            [
                *java(heap="256m", arguments=[BRIEF, "-jar", str(self._jars["openapi"])]),
                *("generate", "-g", "java", "--library", "native", "-i", document, "-o", output),
                *("--additional-properties", ",".join(f"{key}={value}" for key, value in options.items())),
                *("--global-property", ",".join(f"{key}={value}" for key, value in GENERATED.items())),
            ]
        )
        return output / "src" / "main" / "java"


PACKAGES = {"invoker": "client", "api": "api", "model": "model"}


def test_a_client_in_java(
    urls: dict[str, str], documents: dict[str, Path], bodies: Path, api_key: str, tmp_path: Path
) -> None:
    tool = GeneratedClient(tmp_path)
    sources = [tool.generate(name, document, tmp_path / name) for name, document in documents.items()]
    tool.compile(*sources, CLIENTS / "Client.java")
    ended = tool.run("Client", urls["relay"], api_key, urls["gate"], bodies)
    assert ended.stdout.splitlines() == PRINTED, ended.stderr


def test_a_client_in_typescript(
    urls: dict[str, str],
    documents: dict[str, Path],
    bodies: Path,
    api_key: str,
    node_packages: Path,
    node_directory: Path,
) -> None:
    node, programs = runtime("node"), node_packages / "node_modules"
    for name, document in documents.items():
        generator = programs / "openapi-typescript" / "bin" / "cli.js"
        run([node, generator, document, "--output", node_directory / f"{name}.d.ts"], cwd=node_directory)
    typed = [
        f'export const {body}: import("./{api}").components["schemas"]["{name}"][] ='
        f" {(bodies / f'{body}.json').read_text('utf-8')};\n"
        for body, (api, name) in TYPES.items()
    ]
    (node_directory / "bodies.ts").write_text("".join(typed))
    (node_directory / "package.json").write_text('{"type": "module"}')
    shutil.copy(CLIENTS / "client.ts", node_directory)
    options = ["--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    run([node, programs / "typescript" / "bin" / "tsc", *options, "client.ts"], cwd=node_directory)
    arguments = [urls["relay"], api_key, urls["gate"]]
    assert run([node, "client.js", *arguments], cwd=node_directory).splitlines() == PRINTED
