"""The one command line. Commands come from the entry points `consent_relay.commands`, so that no service
needs to import another, and a command's imports cost nothing until it runs."""

import os
from importlib.metadata import EntryPoint, entry_points

import click

from consent_service.errors import LinkRefusedError
from consent_service.exits import exit_with_errors


class Commands(click.Group):
    """Every installed command by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entries().get(cmd_name)
        if entry is None:
            return None
        try:
            loaded = entry.load()
        except ModuleNotFoundError as error:
            return _unavailable(cmd_name, str(error))
        if not isinstance(loaded, click.Command):
            raise TypeError(f"entry point {entry.value} of command {cmd_name} is no click command")
        return loaded

    @staticmethod
    def _entries() -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group="consent_relay.commands")}


def _unavailable(name: str, why: str) -> click.Command:
    """A placeholder for a command whose optional packages are missing: the help still lists the others."""

    @click.command(
        name,
        short_help=f"(not available here: {why})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command() -> None:
        raise click.ClickException(f"{name} is not available here: {why}. Install consent-relay[local].")

    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consent-relay")
def cli() -> None:
    """Carry each consent choice to every channel tool within seconds, and prove which tool was informed, and when.

    Settings come from the environment: CONSENT_RELAY_<NAME>, or a file named by CONSENT_RELAY_<NAME>_FILE.
    """


def main() -> None:
    """Runs the command line. What a server refuses ends it with code 2, whichever command it is."""
    # Local state, checkpoints and exports are for the user that runs a process alone: files 0600, directories 0700.
    os.umask(0o077)
    try:
        cli(prog_name="consent-relay")
    except LinkRefusedError as refusal:
        exit_with_errors([str(refusal)])
