"""What a command that starts a system requires of the process it runs in."""

import os
from pathlib import Path

import click

_SERVERS_UMASK = 0o022
"""PostgreSQL may run as another account than ours, and reads its programs. What holds secrets has a mode of its own."""


def prepare_to_start(directory: Path) -> None:
    """Hold ``directory`` until this process ends. Raises ClickException in a shell that has the settings of another
    system, and where another one runs in the directory, or it cannot be made or written to."""
    from local_stack import directory_lock
    from local_stack.endpoints import SHELL_MARK
    from local_stack.errors import DirectoryInUseError

    if SHELL_MARK in os.environ:
        raise click.ClickException(
            "this shell has the settings of another system, by `consent-relay env`: use a shell without them"
        )
    os.umask(_SERVERS_UMASK)
    try:
        directory_lock.hold(directory)
    except DirectoryInUseError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(
            f"{directory} cannot be written to ({error.strerror}): name another --directory"
        ) from None
