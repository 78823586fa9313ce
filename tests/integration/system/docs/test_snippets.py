"""Every marked snippet of README.md and docs, against the running system: the answers are those that the pages show.

What a fresh machine has is run: bash, Python, and the Java that comes as a package. Node and Go run where they are
installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from consent_http.webhook_signature import parse_secret, signed_headers
from local_stack.servers.java import BRIEF, java
from local_stack.servers.packages import installed
from local_stack.stack import Stack
from tests.integration.system.docs.snippets import Snippet, calls, difference, same_text, shown_json, snippets
from tests.support.foreign_runtimes import fetched, runtime

SECONDS = 60.0
"""For an answer to become the one shown: decisions need a moment to reach the list and the tools."""
SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture(scope="module")
def shell(system: Stack, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(system, tmp_path_factory.mktemp("shell"))


class Shell:
    """What evaluates the variables of `consent-relay env`, then runs something."""

    def __init__(self, system: Stack, directory: Path) -> None:
        self._prefix = system.endpoints.topic_prefix
        self._directory = directory
        printed = subprocess.run(
            [Path(sys.executable).with_name("consent-relay"), "env", "--directory", str(system.directory)],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        self._variables = printed.stdout
        if shutil.which("curl") is None:
            curl = directory / "curl"
            curl.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("curl.py")} "$@"\n')
            curl.chmod(0o755)

    def run(self, command: str, *arguments: str) -> str:
        """Its standard output. The command is a script of bash."""
        programs = f"{self._directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        script = f"set -euo pipefail\n{self._variables}\n{command}"
        ended = subprocess.run(
            ["bash", "-c", script, "bash", *arguments],
            cwd=self._directory,
            env={**os.environ, "PATH": programs},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stderr}"
        return ended.stdout

    def prefixed(self, text: str) -> str:
        """The test's installation has a prefix before each topic."""
        return text.replace("consent.inbound.", f"{self._prefix}consent.inbound.")

    def write(self, name: str, text: str) -> Path:
        file = self._directory / name
        file.write_text(self.prefixed(text), "utf-8")
        return file


@pytest.mark.parametrize("page", sorted({each.page for each in snippets("console", "python")}))
def test_the_snippets_of_a_page_do_what_it_shows(shell: Shell, system: Stack, page: str) -> None:
    """In the order of the page: a later one may show what an earlier one has changed."""
    for snippet in snippets("console", "python", "yaml"):
        if snippet.page != page:
            continue
        if snippet.language == "yaml":
            shell.write(f"{snippet.name}.yaml", snippet.text)
            continue
        if snippet.language == "console":
            for call in calls(snippet.text):
                _answers(shell, call.command, call.output)
            continue
        shell.run('python -W error "$1"', str(shell.write(f"{snippet.name}.py", snippet.text)))
        if "confluent_kafka" in snippet.text:
            (event,) = re.findall(r'"event_id": "([\w-]+)"', snippet.text)
            _recorded(system, event)


def _answers(shell: Shell, command: str, output: str) -> None:
    """Repeat it until the answer is the one shown; a request with an Idempotency-Key is carried out once."""
    shown = shown_json(output) if output.startswith(("{", "[")) else None
    deadline = time.monotonic() + SECONDS
    while True:
        printed = shell.run(command)
        if not output:
            return
        if shown is not None:
            differs = difference(shown, json.loads(printed))
        else:
            differs = None if same_text(output, printed) else "another text"
        if differs is None:
            return
        assert time.monotonic() < deadline, f"{command}\n{differs}\n{printed}"
        time.sleep(0.2)


def test_curl_may_be_missing(shell: Shell, system: Stack) -> None:
    endpoints = system.endpoints
    body = '{"channel": "sms", "purpose": "promotions", "addresses": ["+33639984798"]}'
    words = ["-s", f"{endpoints.gate}/v1/check", "-H", f"Authorization: Bearer {endpoints.check_key}"]
    words += ["-H", "Content-Type: application/json", "-d", body]
    curl = Path(__file__).with_name("curl.py")
    ended = subprocess.run([sys.executable, str(curl), *words], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)["results"][0]["reason"] == "unknown"


@pytest.mark.parametrize("snippet", snippets("java"), ids=lambda each: each.name)
def test_java_produces_a_withdrawal_that_is_recorded(shell: Shell, system: Stack, snippet: Snippet) -> None:
    directory = shell.write("Withdraw.java", snippet.text).parent
    # Those of Kafka first: they are of one version.
    jars = [*installed("kafka").glob("*.jar"), *installed("avro").glob("*.jar")]
    path = ":".join([*map(str, jars), str(directory)])

    def run(*words: str) -> None:
        program = java(heap="256m", arguments=[BRIEF, "-cp", path, *words])
        environment = {"KAFKA": system.endpoints.kafka, "REGISTRY": system.endpoints.registry}
        ended = subprocess.run(
            program, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    compiler = "org.eclipse.jdt.internal.compiler.batch.Main"
    run(compiler, "-source", "17", "-target", "17", "-nowarn", "-cp", path, str(directory / "Withdraw.java"))
    run("Withdraw")
    _recorded(system, "java-000001")


def _recorded(system: Stack, event: str) -> None:
    endpoints = system.endpoints
    deadline = time.monotonic() + SECONDS
    while True:
        answer = httpx.get(
            f"{endpoints.api}/v1/events/{event}", headers={"Authorization": f"Bearer {endpoints.api_key}"}, timeout=30
        )
        if answer.status_code == 200:
            (result,) = answer.json()["results"]
            assert (result["source"], result["outcome"], result["effect"]) == ("crm", "recorded", "in_effect")
            return
        assert answer.status_code == 404, answer.text
        assert time.monotonic() < deadline, f"{event} was not recorded"
        time.sleep(0.2)


def test_node_produces_a_withdrawal_that_is_recorded(shell: Shell, system: Stack, node_directory: Path) -> None:
    source = node_directory / "withdraw.js"
    source.write_text(shell.prefixed(_named("kafka-node").text), "utf-8")
    shell.run('node "$1"', str(source))
    _recorded(system, "node-000001")


def test_go_produces_a_withdrawal_that_is_recorded(shell: Shell, system: Stack, tmp_path: Path) -> None:
    go = runtime("go")
    source = shutil.copytree(Path(__file__).with_name("go"), tmp_path / "go")
    (source / "main.go").write_text(shell.prefixed(_named("kafka-go").text), "utf-8")
    fetched([go, "mod", "download"], directory=source)
    shell.run('cd "$1" && go build -o produce . && ./produce', str(source))
    _recorded(system, "go-000001")


BODY = json.dumps(
    {
        "type": "suppression.updated",
        "data": {
            "address_key": "h1.q83v",
            "target": "promotions",
            "purposes": {"promotions": {"permitted": False, "reason": "withdrawn"}},
            "version": 2,
        },
    }
).encode()


def _signed(secret: str, *, sent: int, body: bytes = BODY) -> dict[str, str]:
    """By the connector's own code, with the secret before it as well."""
    secrets = [parse_secret("whsec_" + "b2xk" * 8), parse_secret(secret)]
    return signed_headers(secrets, message_id="msg_1", timestamp=sent, body=body)


def _messages() -> list[tuple[str, dict[str, str], bytes, bool]]:
    """Secret, headers, body, and whether it is to be accepted."""
    now = int(time.time())
    right = _signed(SECRET, sent=now)
    return [
        (SECRET, right, BODY, True),
        (SECRET, right, BODY.replace(b"false", b"true "), False),
        ("whsec_" + "b3RoZXI=" * 4, right, BODY, False),
        (SECRET, _signed(SECRET, sent=now - 3600), BODY, False),
        (SECRET, right | {"webhook-id": "msg_2"}, BODY, False),
        (SECRET, right | {"webhook-timestamp": "now"}, BODY, False),
        (SECRET, right | {"webhook-signature": "v1,é"}, BODY, False),
        (SECRET, {}, BODY, False),
    ]


def _named(name: str) -> Snippet:
    return next(each for each in snippets("python", "js", "go") if each.name == name)


def test_the_receiver_in_python_accepts_what_we_sign_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    shown: dict[str, Any] = {}
    exec(compile(_named("webhook-python").text, "webhook-python", "exec"), shown)
    for secret, headers, body, accepted in _messages():
        assert shown["receive"](secret, headers, body) == (204 if accepted else 401), headers
    older = BODY.replace(b'"version": 2', b'"version": 1')
    assert shown["receive"](SECRET, _signed(SECRET, sent=int(time.time()), body=older), older) == 204
    assert capsys.readouterr().out.splitlines() == ["h1.q83v promotions False"]


def test_the_receiver_in_node_does_so_too(tmp_path: Path) -> None:
    program = runtime("node")
    (tmp_path / "verify.js").write_text(_named("webhook-node").text, "utf-8")
    (tmp_path / "messages.json").write_text(
        json.dumps([[secret, headers, body.decode()] for secret, headers, body, _ in _messages()]), "utf-8"
    )
    asked = (
        "const { verified } = require('./verify.js');"
        "for (const [secret, headers, body] of require('./messages.json'))"
        " console.log(verified(secret, headers, Buffer.from(body)));"
    )
    ended = subprocess.run(
        [program, "-e", asked], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout.split() == [str(accepted).lower() for *_, accepted in _messages()]
