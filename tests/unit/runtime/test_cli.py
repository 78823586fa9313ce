"""The one command line lists what is installed and loads a command only when it is asked for."""

from importlib.metadata import EntryPoint

import pytest
from click.testing import CliRunner

from consent_runtime import cli


@pytest.fixture
def _entries(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (
        EntryPoint("keyring", "consent_api.cli.keyring:keyring", "consent_relay.commands"),
        EntryPoint("absent", "consent_absent.__main__:absent", "consent_relay.commands"),
    )
    monkeypatch.setattr(cli, "entry_points", lambda **_: entries)


@pytest.mark.usefixtures("_entries")
def test_help_lists_every_command_even_one_that_cannot_be_loaded() -> None:
    result = CliRunner().invoke(cli.cli, ["--help"])
    assert result.exit_code == 0
    assert "keyring" in result.output
    assert "not available here" in result.output


@pytest.mark.usefixtures("_entries")
def test_a_command_that_cannot_be_loaded_says_what_is_missing() -> None:
    result = CliRunner().invoke(cli.cli, ["absent", "--port", "1"])
    assert result.exit_code == 1
    assert "consent_absent" in result.output


@pytest.mark.usefixtures("_entries")
def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli.cli, ["nonsense"]).exit_code == 2
    assert CliRunner().invoke(cli.cli, ["keyring", "--help"]).exit_code == 0
