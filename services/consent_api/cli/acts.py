"""What a command does to the installation goes into the audit, before it is done: an entry too many is better than an
act that no entry shows."""

from __future__ import annotations

import os

import click

from consent_api.cli.database_errors import SETTING


def record(act: str, *, tenant: str | None = None, object_id: str | None = None) -> None:
    """Write an entry of the operator who runs this command. ``act``: of `consent_api.rights.audit.Act`.

    Where no database is set, as on the machine that makes a keyring, a line on standard error says that there is no
    entry. click.ClickException where the database does not answer, or has no audit yet."""
    if not (os.environ.get(SETTING) or os.environ.get(f"{SETTING}_FILE")):
        click.echo(f"no entry is added to the audit, as {SETTING} is not set", err=True)
        return
    from sqlalchemy import Connection
    from sqlalchemy.exc import ProgrammingError

    from consent_api.errors import LedgerUnavailableError
    from consent_api.ledger import database
    from consent_api.rights import audit
    from consent_api.rights.audit import Act
    from consent_api.settings import LedgerSettings
    from consent_service.settings import load

    def add(connection: Connection) -> None:
        at = database.clock(connection)
        audit.add(connection, tenant=tenant, who=audit.by_operator(), act=Act(act), object_id=object_id, at=at)

    engine = database.connect(load(LedgerSettings).database, pool_size=1, application="consent-relay audit")
    database.refuse_denied(engine)
    try:
        database.transact(engine, add)
    except LedgerUnavailableError as error:
        raise click.ClickException(
            f"the audit cannot be written, nothing was changed: {error}. Repeat the command once {SETTING} answers."
        ) from None
    except ProgrammingError:
        raise click.ClickException(
            "the audit cannot be written, nothing was changed: the database has no current ledger. Run consent-relay"
            " migrate, then repeat the command."
        ) from None
    finally:
        engine.dispose()
