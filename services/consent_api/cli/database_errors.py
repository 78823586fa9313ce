"""A database that does not answer, or holds no current ledger, ends a command with one line and code 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

SETTING = "CONSENT_RELAY_API_DATABASE"
NO_LEDGER = "the database has no current ledger: run consent-relay migrate"


@contextmanager
def database_errors(setting: str) -> Iterator[None]:
    """`setting` is the variable that names the database. Raises click.ClickException."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        why = str(error.orig).partition("\n")[0]
        raise click.ClickException(f"{setting}: the database does not answer: {why}") from None


@contextmanager
def ledger_errors(setting: str = SETTING) -> Iterator[None]:
    """As `database_errors`, also where tables or rights are missing, as before the first `migrate`."""
    from sqlalchemy.exc import ProgrammingError

    from consent_api.errors import LedgerUnavailableError

    try:
        with database_errors(setting):
            yield
    except LedgerUnavailableError as error:
        raise click.ClickException(f"{setting}: {error}") from None
    except ProgrammingError:
        raise click.ClickException(f"{setting}: {NO_LEDGER}") from None
