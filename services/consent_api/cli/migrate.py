"""`consent-relay migrate`."""

from __future__ import annotations

import click

from consent_api.cli.database_errors import database_errors


@click.command()
def migrate() -> None:
    """Create or upgrade the database, and the role that the services use.

    Runs as the owner, CONSENT_RELAY_API_DATABASE_OWNER. The role, and its password, are those in
    CONSENT_RELAY_API_DATABASE; it may add and read decisions, and can neither change nor delete one.
    Repeatable: run it before each new release starts; the one that runs goes on meanwhile. Where a table is locked for
    longer than CONSENT_RELAY_MIGRATE_LOCK_TIMEOUT, it names the session, lets others pass and tries again, ten times.
    Exit code 1: the table was still locked, and the session that is named has to end first.
    """
    from consent_api.cli import acts
    from consent_api.errors import MigrationBlockedError, MisconfiguredError
    from consent_api.ledger import migrate as migration
    from consent_api.rights.audit import Act
    from consent_api.settings import MigrateSettings
    from consent_service.exits import exit_with_errors
    from consent_service.settings import load

    settings = load(MigrateSettings)
    try:
        with database_errors("CONSENT_RELAY_API_DATABASE_OWNER"):
            before, after = migration.migrate(
                settings.owner,
                settings.database,
                lock_timeout_seconds=settings.migrate_lock_timeout,
                report=lambda line: click.echo(line, err=True),
            )
    except MisconfiguredError as error:
        exit_with_errors([str(error)])
    except MigrationBlockedError as error:
        raise click.ClickException(str(error)) from None
    if before != after:
        acts.record(Act.DATABASE_MIGRATED, object_id=f"from {before or 'nothing'} to {after}")
    was = f", from {before or 'nothing'}" if before != after else ""
    click.echo(f"the database is up to date: migration {after}{was}")
