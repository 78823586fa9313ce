"""What a command that starts a system requires of the process it runs in."""

import os

import click

_SERVERS_UMASK = 0o022
"""PostgreSQL may run as another account than ours, and reads its programs. What holds secrets has a mode of its own."""


def prepare_to_start() -> None:
    """Raises ClickException in a shell that has the settings of another system."""
    from local_stack.endpoints import SHELL_MARK

    if SHELL_MARK in os.environ:
        raise click.ClickException(
            "this shell has the settings of another system, by `consent-relay env`: use a shell without them"
        )
    os.umask(_SERVERS_UMASK)
