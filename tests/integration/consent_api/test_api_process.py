"""`consent-relay migrate`, `keys` and `api` as an operator runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import URL, Engine, text

from consent_contracts.topics import Topics
from consent_http.api_keys import KeyFile
from local_stack.ports import free_port
from local_stack.servers import ServerEndpoints

Environment = dict[str, str]
WITHDRAWAL = {"subject_ref": "s1", "address": "+33639980001", "channel": "sms", "purpose": "*", "status": "withdrawn"}


@pytest.fixture
def environment(
    owner: URL, service: URL, owner_engine: Engine, servers: ServerEndpoints, topics: Topics, keyring_file: Path
) -> Environment:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_RELAY_")}
    return {
        **kept,
        "CONSENT_RELAY_API_DATABASE": service.render_as_string(hide_password=False),
        "CONSENT_RELAY_API_DATABASE_OWNER": owner.render_as_string(hide_password=False),
        "CONSENT_RELAY_REGISTRY": servers.registry,
        "CONSENT_RELAY_KAFKA": "127.0.0.1:1",  # The API needs no broker.
        "CONSENT_RELAY_TOPIC_PREFIX": topics.prefix,
        "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
        "CONSENT_RELAY_API_PORT": str(free_port()),
        "CONSENT_RELAY_METRICS_PORT": str(free_port()),
        "CONSENT_RELAY_API_SHUTDOWN_DELAY": "0",
    }


def run(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "consent_service", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def api(environment: Environment, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "consent_service", "api"], env=environment, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not ready(environment):
                assert process.poll() is None, (tmp_path / "api.log").read_text()
                assert time.monotonic() < deadline, "the API did not become ready"
                time.sleep(0.1)
            yield process
        finally:
            process.kill()
            process.wait()


def ready(environment: Environment) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{environment['CONSENT_RELAY_METRICS_PORT']}/readyz").is_success
    except httpx.TransportError:
        return False


def test_keys_are_made_listed_exported_and_revoked(environment: Environment, tmp_path: Path) -> None:
    made = run(
        environment, "keys", "create", "--tenant", "acme", "--scope", "check", "--scope", "read", "--name", "crm"
    )
    token = made.stdout.strip()
    assert made.returncode == 0, made.stderr
    assert token.startswith("cr_")
    key_id, secret = token.split("_", 2)[1:]
    listed = run(environment, "keys", "list").stdout
    assert key_id in listed
    assert secret not in listed
    file = tmp_path / "keys.json"
    assert run(environment, "keys", "export", "--scope", "check", str(file)).returncode == 0
    assert [each["id"] for each in json.loads(file.read_text())["keys"]] == [key_id]
    assert secret not in file.read_text()
    assert run(environment, "keys", "revoke", key_id).returncode == 0
    assert run(environment, "keys", "revoke", key_id).returncode == 1
    run(environment, "keys", "export", "--scope", "check", str(file))
    assert json.loads(file.read_text())["keys"] == []


def test_migrate_may_be_repeated_by_command(environment: Environment) -> None:
    result = run(environment, "migrate")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("command", ["api", "migrate"])
def test_a_missing_setting_is_named_and_ends_with_2(environment: Environment, command: str) -> None:
    del environment["CONSENT_RELAY_API_DATABASE"]
    result = run(environment, command)
    assert result.returncode == 2
    assert "CONSENT_RELAY_API_DATABASE:" in result.stderr


def test_a_password_never_shows_in_a_complaint(environment: Environment) -> None:
    environment["CONSENT_RELAY_API_DATABASE"] = "postgresql://:hunter2@127.0.0.1/x"
    result = run(environment, "api")
    assert result.returncode == 2
    assert "hunter2" not in result.stderr + result.stdout


def test_the_api_serves_and_ends_as_it_should(
    environment: Environment, api: subprocess.Popen[bytes], owner_engine: Engine, tmp_path: Path
) -> None:
    token = run(environment, "keys", "create", "--tenant", "acme", "--scope", "submit", "--name", "t").stdout.strip()
    url = f"http://127.0.0.1:{environment['CONSENT_RELAY_API_PORT']}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        headers = {"Idempotency-Key": str(uuid4())}
        assert client.post("/v1/decisions", json=WITHDRAWAL, headers=headers).status_code == 201
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM outbox")).scalar_one() == 1
    api.send_signal(signal.SIGTERM)
    assert api.wait(timeout=30) == 0
    log = (tmp_path / "api.log").read_text()
    assert "Traceback" not in log
    assert "639980001" not in log


def test_a_revoked_key_is_taken_out_of_what_was_exported_or_the_command_names_what_is_left(  # R15
    environment: Environment, tmp_path: Path, owner_engine: Engine
) -> None:
    def created(scope: str) -> str:
        made = run(environment, "keys", "create", "--tenant", "acme", "--scope", scope, "--name", "crm")
        return made.stdout.strip()

    file, gone = tmp_path / "gate.json", tmp_path / "gone.json"
    for each in (file, gone):
        assert run(environment, "keys", "export", "--scope", "check", str(each)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    gate = KeyFile(file)
    token, kept, reader = created("check"), created("check"), created("read")
    assert gate.find(token) is not None, "a new key is in the files of its scope"
    assert gate.find(reader) is None
    file.chmod(0o640)
    gone.unlink()

    revoked = run(environment, "keys", "revoke", token.split("_")[1])
    assert gate.find(token) is None
    assert gate.find(kept) is not None
    assert file.stat().st_mode & 0o777 == 0o640, "the group that could read it still may"
    assert (revoked.returncode, revoked.stdout.splitlines()) == (1, ["revoked", f"taken out of {file}"])
    assert f"consent-relay keys export --scope check {gone}" in revoked.stderr

    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE key_exports SET host = 'elsewhere' WHERE path = :path"), {"path": str(gone)})
    repeated = run(environment, "keys", "revoke", token.split("_")[1])
    assert repeated.returncode == 1
    assert "on host elsewhere" in repeated.stderr
    assert run(environment, "keys", "forget-export", "elsewhere", str(gone)).returncode == 0
    assert run(environment, "keys", "forget-export", "elsewhere", str(gone)).returncode == 1

    done = run(environment, "keys", "revoke", kept.split("_")[1])
    assert (done.returncode, gate.find(kept)) == (0, None)
    of_no_file = run(environment, "keys", "revoke", reader.split("_")[1])
    assert (of_no_file.returncode, of_no_file.stdout) == (0, "revoked\n")
