"""`consent-relay migrate`."""

from __future__ import annotations

import click

from consent_api.cli.database_errors import database_errors


@click.command()
def migrate() -> None:
    """Create or upgrade the database, and the role that the services use.

    Runs as the owner, CONSENT_RELAY_API_DATABASE_OWNER. The role, and its password, are those in
    CONSENT_RELAY_API_DATABASE; it may add and read decisions, and can neither change nor delete one.
    Repeatable: run it before each new release starts.
    """
    from consent_api.errors import MisconfiguredError
    from consent_api.ledger import migrate as migration
    from consent_api.settings import MigrateSettings
    from consent_service.exits import exit_with_errors
    from consent_service.settings import load

    settings = load(MigrateSettings)
    try:
        with database_errors("CONSENT_RELAY_API_DATABASE_OWNER"):
            migration.migrate(settings.owner, settings.database)
    except MisconfiguredError as error:
        exit_with_errors([str(error)])
    click.echo("the database is up to date")
