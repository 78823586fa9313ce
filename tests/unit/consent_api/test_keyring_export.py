"""`consent-relay keyring export`: the key file of a process that only hashes, without naming a file. # R13"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from consent_api.cli.keyring import keyring as command
from consent_privacy import keyring_file
from consent_privacy.keyring import Keyring


@pytest.fixture
def installations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", "installation.toml")
    return keyring_file.generate(Path("installation.toml"), ["acme", "other"])


def test_the_settings_name_the_keyring_and_the_tenant_the_export(installations: Keyring) -> None:
    ended = CliRunner().invoke(command, ["export", "--hash-only", "--tenant", "acme"])
    assert (ended.exit_code, ended.stdout) == (0, "wrote acme.hash-keys.toml\n")
    exported = Keyring.load(Path("acme.hash-keys.toml"))
    assert (exported.tenants, exported.seal_keys) == (("acme",), ())
    assert exported.hash_keys["acme"] == installations.hash_keys["acme"]


def test_an_export_with_seal_keys_has_a_name_of_its_own(installations: Keyring) -> None:
    ended = CliRunner().invoke(command, ["export", "--tenant", "acme", "--tenant", "other"])
    assert ended.stdout == "wrote acme-other.keyring.toml\n"
    assert Keyring.load(Path("acme-other.keyring.toml")).seal_keys == installations.seal_keys


@pytest.mark.parametrize("words", [["export", "--hash-only"], ["export", "--tenant", "unknown"]])
def test_no_export_is_written_for_no_tenant(installations: Keyring, words: list[str]) -> None:
    assert CliRunner().invoke(command, words).exit_code != 0
    assert [each.name for each in Path().iterdir()] == ["installation.toml"]
