"""What is wrong at the start is named, and ends with 2, before the broker is asked for anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consent_contracts import Codec
from consent_contracts.errors import NotRegisteredError, RegistryUnavailableError
from consent_privacy.keyring_file import export, generate
from propagator.cli.propagator import propagator
from tests.support.one_destination import declare

Start = Callable[[], Any]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs the command with valid settings; there is no broker."""
    generate(tmp_path / "keyring.toml", ["acme"])
    for name, value in {
        "KAFKA": "127.0.0.1:9",
        "REGISTRY": "http://127.0.0.1:9",
        "KEYRING_FILE": str(tmp_path / "keyring.toml"),
        "STATE_DIR": str(tmp_path),
        "INSTANCE_ID": "one",
        "METRICS_PORT": "0",
        "PROPAGATOR_DESTINATIONS": str(declare(tmp_path, monkeypatch)),
    }.items():
        monkeypatch.setenv(f"CONSENT_RELAY_{name}", value)
    monkeypatch.setattr("consent_kafka.provisioning.require_topics", lambda *_: None)
    monkeypatch.setattr("consent_service.json_logs.configure", lambda *_: None)
    return lambda: CliRunner().invoke(propagator)


def test_a_keyring_without_the_seal_keys_that_it_needs(start: Start, tmp_path: Path) -> None:
    export(tmp_path / "keyring.toml", tmp_path / "hashes.toml", ["acme"], hash_only=True)
    (tmp_path / "hashes.toml").replace(tmp_path / "keyring.toml")
    result = start()
    assert result.exit_code == 2
    assert result.stderr.startswith("CONSENT_RELAY_KEYRING_FILE: ")
    assert "needs seal keys" in result.stderr


def test_a_keyring_that_cannot_be_used(start: Start, tmp_path: Path) -> None:
    (tmp_path / "keyring.toml").write_text("no keyring")
    result = start()
    assert result.exit_code == 2
    assert "CONSENT_RELAY_KEYRING_FILE: " in result.stderr


def test_a_name_that_is_not_one_of_the_propagators(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_RELAY_PROPAGATOR_NAME", "telephony")
    result = start()
    assert result.exit_code == 2
    assert "CONSENT_RELAY_PROPAGATOR_NAME telephony is not in CONSENT_RELAY_PROPAGATORS" in result.stderr


def test_a_tenant_that_the_keyring_does_not_have(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "destinations.yaml"
    file.write_text(file.read_text() + "    tenant: globex\n")
    result = start()
    assert result.exit_code == 2
    assert f"{file}:8:5: destinations[0].tenant: the keyring has no tenant 'globex': use one of acme" in result.stderr


def test_a_tenant_that_is_left_out_where_the_keyring_has_several(start: Start, tmp_path: Path) -> None:
    (tmp_path / "keyring.toml").unlink()
    generate(tmp_path / "keyring.toml", ["acme", "globex"])
    result = start()
    assert result.exit_code == 2
    assert "`tenant` is missing, and the keyring has several: name one of acme, globex" in result.stderr


def test_a_secret_of_the_wrong_form(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK", "whsec_####")
    result = start()
    assert result.exit_code == 2
    assert "destination crm: secret" in result.stderr
    assert "####" not in result.stderr


@pytest.mark.parametrize(
    "error", [RegistryUnavailableError("does not answer"), NotRegisteredError("consent.changes.v1-value")]
)
def test_a_registry_that_does_not_serve(start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def connect(*_: object, **__: object) -> Codec:
        raise error

    monkeypatch.setattr(Codec, "connect", connect)
    result = start()
    assert result.exit_code == 2
    assert "CONSENT_RELAY_REGISTRY: " in result.stderr
