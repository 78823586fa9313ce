"""What `consent-relay up` leaves behind for programs and shells."""

import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from local_stack import directory_lock
from local_stack.__main__ import demo, env, up
from local_stack.endpoints import Endpoints
from local_stack.errors import DirectoryInUseError

ENDPOINTS = Endpoints(
    kafka="127.0.0.1:9092",
    registry="http://127.0.0.1:8081",
    database="postgresql+psycopg://owner:secret@127.0.0.1/consent_relay",
    api="http://127.0.0.1:8080",
    gate="http://127.0.0.1:8082",
    status="http://127.0.0.1:8083",
    sandbox="http://127.0.0.1:8090",
    metrics={},
    tenant="acme",
    api_key="cr_submit",
    check_key="cr_check",
    keyring_file="keyring.toml",
    key_file="/a directory/it's.toml",
    destinations_file="destinations.yaml",
    topic_prefix="",
    logs="logs",
    pids={},
    settings={"CONSENT_RELAY_KEYRING_FILE": "keyring.toml"},
)


def test_a_shell_gets_the_addresses_the_keys_the_settings_and_the_command(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        api = f"http://127.0.0.1:{listening.getsockname()[1]}"
        replace(ENDPOINTS, api=api).write(tmp_path / "endpoints.json")
        printed = CliRunner().invoke(env, ["--directory", str(tmp_path)])
    assert printed.exit_code == 0, printed.output
    names = "$API", "$GATE", "$API_KEY", "$CHECK_KEY", "$KAFKA", "$REGISTRY", "$KEY_FILE", "$CONSENT_RELAY_KEYRING_FILE"
    shown = 'set -eu; eval "$1"; shift; command -v consent-relay >/dev/null; eval "printf \'%s\\n\' $*"'
    ended = subprocess.run(
        ["sh", "-c", shown, "sh", printed.output, *(f'"{name}"' for name in names)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines() == [
        api,
        "http://127.0.0.1:8082",
        "cr_submit",
        "cr_check",
        "127.0.0.1:9092",
        "http://127.0.0.1:8081",
        "/a directory/it's.toml",
        "keyring.toml",
    ]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.json"
    ENDPOINTS.write(file)
    assert file.stat().st_mode & 0o077 == 0
    assert Endpoints.read(file) == ENDPOINTS


def test_where_nothing_runs_the_command_prints_why_and_nothing_to_evaluate(tmp_path: Path) -> None:
    nowhere = CliRunner().invoke(env, ["--directory", str(tmp_path)])
    assert (nowhere.exit_code, nowhere.stdout) == (1, "")
    assert "make up" in nowhere.stderr
    with socket.create_server(("127.0.0.1", 0)) as listening:
        api = f"http://127.0.0.1:{listening.getsockname()[1]}"
    replace(ENDPOINTS, api=api).write(tmp_path / "endpoints.json")
    stopped = CliRunner().invoke(env, ["--directory", str(tmp_path)])
    assert (stopped.exit_code, stopped.stdout) == (1, "")
    assert api in stopped.stderr
    assert "make up" in stopped.stderr


@pytest.mark.parametrize("command", [up, demo])
def test_a_shell_with_the_settings_of_one_system_starts_no_other(command: click.Command, tmp_path: Path) -> None:
    variable = next(line for line in ENDPOINTS.exports().splitlines() if "LOCAL_STACK_SHELL" in line)
    name, _, value = variable.removeprefix("export ").partition("=")
    refused = CliRunner().invoke(command, ["--directory", str(tmp_path)], env={name: value})
    assert refused.exit_code == 1
    assert "use a shell without them" in refused.stderr


@pytest.mark.parametrize("command", [up, demo])
def test_a_second_system_does_not_start_in_the_directory_of_one_that_runs(
    command: click.Command, tmp_path: Path
) -> None:
    (tmp_path / "ports.json").write_text('{"api": 1}')
    held = directory_lock.hold(tmp_path)
    try:
        refused = CliRunner().invoke(command, ["--directory", str(tmp_path)])
    finally:
        os.close(held)
    assert refused.exit_code == 1
    assert f"a system runs in {tmp_path}: stop it" in refused.stderr
    assert (tmp_path / "ports.json").read_text() == '{"api": 1}'


def test_a_directory_is_held_while_it_is_cleared_and_free_afterwards(tmp_path: Path) -> None:
    held = directory_lock.hold(tmp_path / "new")
    (tmp_path / "new" / "servers").mkdir()
    (tmp_path / "new" / "servers" / "data").write_text("")
    (tmp_path / "new" / "endpoints.json").write_text("{}")
    directory_lock.clear(tmp_path / "new")
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["lock"]
    with pytest.raises(DirectoryInUseError):
        directory_lock.hold(tmp_path / "new")
    os.close(held)
    os.close(directory_lock.hold(tmp_path / "new"))


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(up, ["--directory", str(tmp_path / "file" / "below")])
    assert refused.exit_code == 1
    assert "name another --directory" in refused.stderr
