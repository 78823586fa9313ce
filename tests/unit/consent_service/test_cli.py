"""The one command line lists what is installed and loads a command only when it is asked for."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from consent_service import cli


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


def test_what_a_process_writes_is_for_its_user_alone(tmp_path: Path) -> None:  # R13
    """RocksDB, checkpoints and markers are created without a mode of their own."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from consent_service import cli\n"
        "os.umask(0)\n"
        "cli.cli = lambda **_: (Path(sys.argv[1], 'state').mkdir(), Path(sys.argv[1], 'file').write_text('x'))\n"
        "cli.main()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
