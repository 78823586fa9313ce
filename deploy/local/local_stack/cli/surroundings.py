"""What a command that starts a system requires of the process it runs in."""

import os
from pathlib import Path

import click

_SERVERS_UMASK = 0o022
"""PostgreSQL may run as another account than ours, and reads its programs. What holds secrets has a mode of its own."""


def prepare_to_start(directory: Path) -> None:
    """Raises ClickException in a shell that has the settings of another system, and where ``directory`` cannot be made
    or written to."""
    from local_stack.endpoints import SHELL_MARK

    if SHELL_MARK in os.environ:
        raise click.ClickException(
            "this shell has the settings of another system, by `consent-relay env`: use a shell without them"
        )
    os.umask(_SERVERS_UMASK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be made ({error.strerror}): name another --directory") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise click.ClickException(f"{directory} cannot be written to: name another --directory")
