"""A database that does not answer ends a command with one line and code 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def database_errors(setting: str) -> Iterator[None]:
    """`setting` is the variable that names the database. Raises click.ClickException."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        why = str(error.orig).partition("\n")[0]
        raise click.ClickException(f"{setting}: the database does not answer: {why}") from None
