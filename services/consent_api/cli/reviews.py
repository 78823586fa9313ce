"""`consent-relay reviews`: replies that are in doubt, for a person to resolve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import click

from consent_api.cli.database_errors import ledger_errors
from consent_api.cli.tenants import chosen_tenant
from consent_service.terminal import shown

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consent_api.ledger.ledger import Ledger
    from consent_api.ledger.reviews import Review


@click.group()
def reviews() -> None:
    """Replies whose meaning is in doubt. Requires the settings of `api`."""


@reviews.command("list")
@click.option("--tenant", required=True)
def list_reviews(tenant: str) -> None:
    """Print the open ones, the oldest first: id, channel, source, why it is in doubt, and the text."""
    from consent_api.ledger import reviews as store

    with _ledger(tenant) as ledger:
        keyring = ledger.context.keyring
        after: str | None = None
        while found := ledger.transact(lambda c, last=after: store.pending(c, keyring, tenant=tenant, after=last)):  # type: ignore[misc]
            for each in found:
                parts = (each.review_id, each.channel, each.source, each.rule, each.reply or "(cannot be opened)")
                click.echo("\t".join(shown(part.replace("\t", " ").replace("\n", " ")) for part in parts))
            after = found[-1].review_id


@reviews.command("resolve")
@click.argument("review_id", type=click.UUID)
@click.option("--tenant", required=True)
@click.option("--withdrawal", "resolution", flag_value="withdrawal", help="The person did withdraw: it stays so.")
@click.option(
    "--not-a-withdrawal",
    "resolution",
    flag_value="not_a_withdrawal",
    help="The permissions that the reply ended are given again, unless something else forbids them.",
)
@click.option("--by", required=True, help="Who decides; kept as evidence.")
def resolve_review(review_id: UUID, tenant: str, resolution: str | None, by: str) -> None:
    """Decide what one meant."""
    from consent_api.errors import ReviewError
    from consent_api.ledger import reviews as store
    from consent_api.ledger.lanes import Lane
    from consent_api.rights import audit
    from consent_api.rights.audit import Act

    if resolution is None:
        raise click.UsageError("give --withdrawal or --not-a-withdrawal")
    decided = store.Resolution(resolution)

    def work(connection: Connection, now: int) -> Review:
        found = store.resolve(
            connection, ledger.context, tenant=tenant, review_id=review_id, resolution=decided, by=by, now=now
        )
        audit.add(
            connection,
            tenant=tenant,
            who=audit.by_operator(),
            act=Act.REVIEW_RESOLVED,
            object_id=str(review_id),
            at=now,
        )
        return found

    with _ledger(tenant) as ledger:
        try:
            found = ledger.write(Lane.LIVE, work)
        except ReviewError as error:
            raise click.ClickException(f"{error}.") from None
    click.echo(f"{found.resolution}: {len(found.restored)} permission(s) given again")


@contextmanager
def _ledger(tenant: str) -> Iterator[Ledger]:
    from consent_api.http.app import connect_ledger
    from consent_api.settings import ApiSettings
    from consent_service.settings import load

    ledger = connect_ledger(load(ApiSettings), wait_seconds=10)
    try:
        chosen_tenant(tenant, ledger.context.keyring.tenants)
        with ledger_errors():
            yield ledger
    finally:
        ledger.engine.dispose()
