"""`consent-relay renewals`: permissions that are about to end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from consent_api.cli.database_errors import ledger_errors
from consent_service.terminal import shown

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consent_api.ledger.renewals import Renewal


@click.group()
def renewals() -> None:
    """Permissions that are about to end, to be asked for again. Requires CONSENT_RELAY_API_DATABASE."""


def _page(
    connection: Connection, *, tenant: str, after: tuple[int, str] | None
) -> tuple[list[Renewal], tuple[int, str] | None]:
    from consent_api.ledger import database, renewals

    return renewals.listed(connection, tenant, now=database.clock(connection), after=after)


@renewals.command("list")
@click.option("--tenant", required=True)
def list_renewals(tenant: str) -> None:
    """Print end, channel, purpose, reference and address key of each, the nearest end first."""
    from consent_api.ledger import database
    from consent_api.settings import LedgerSettings
    from consent_contracts.cloudevents import rfc3339
    from consent_service.settings import load

    engine = database.connect(load(LedgerSettings).database, pool_size=1, application="consent-relay renewals")
    after: tuple[int, str] | None = None
    try:
        database.refuse_denied(engine)
        while True:
            page = partial(_page, tenant=tenant, after=after)
            with ledger_errors():
                found, after = database.transact(engine, page)
            for each in found:
                parts = (rfc3339(each.expires_at), each.channel, each.purpose, each.subject_ref or "-")
                click.echo("\t".join([*(shown(part) for part in parts), each.address_key]))
            if after is None:
                return
    finally:
        engine.dispose()
