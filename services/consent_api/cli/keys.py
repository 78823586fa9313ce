"""`consent-relay keys`: the API keys, managed as the owner of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCOPES = ("submit", "read", "check", "admin")


@click.group()
def keys() -> None:
    """Create, list, revoke and export API keys. Needs CONSENT_RELAY_API_DATABASE_OWNER."""


@keys.command("create")
@click.option("--tenant", required=True, help="Whose decisions the key may submit and read.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="May be repeated. submit: decisions and addresses; read: state, receipts, explain; check: the gate;"
    " admin: kept for operators' routes, of which there are none yet.",
)
@click.option("--name", required=True, help="Who will use it, so that you know later which one to revoke.")
@click.option(
    "--no-lift",
    is_flag=True,
    help="Permissions sent with it never lift a refusal: where one decides they are refused. For imports and feeds,"
    " such as a CRM's or a supplier's. Where people choose themselves, such as a preference centre, leave it out.",
)
def create_key(tenant: str, scopes: tuple[str, ...], name: str, no_lift: bool) -> None:
    """Print a new API key. It is shown this once: only a digest is kept."""
    from consent_api import keys as store
    from consent_runtime.clock import now_micros

    with _owner() as connection:
        token = store.create(
            connection, tenant=tenant, scopes=scopes, name=name, now=now_micros(), may_lift=not no_lift
        )
    click.echo(token)


@keys.command("list")
@click.option("--tenant", help="Only this tenant's keys.")
def list_keys(tenant: str | None) -> None:
    """List the keys: id, tenant, scopes, name, since when, whether they may lift a refusal, and whether revoked."""
    from consent_api import keys as store
    from consent_contracts.cloudevents import rfc3339

    with _owner() as connection:
        found = store.listed(connection, tenant=tenant)
    for key in found:
        state = "live" if key.revoked_at is None else f"revoked {rfc3339(key.revoked_at)}"
        since = rfc3339(key.created_at)
        lifts = "may-lift" if key.may_lift else "no-lift"
        click.echo("\t".join((key.id, key.tenant, ",".join(key.scopes), key.name, since, lifts, state)))


@keys.command("revoke")
@click.argument("key_id")
def revoke_key(key_id: str) -> None:
    """Revoke the key with this id (the part between the underscores). The API refuses it within seconds."""
    from consent_api import keys as store
    from consent_runtime.clock import now_micros

    with _owner() as connection:
        revoked = store.revoke(connection, key_id, now=now_micros())
    if not revoked:
        raise click.ClickException("no live key has this id; see: consent-relay keys list")
    click.echo("revoked")


@keys.command("export")
@click.option("--scope", required=True, type=click.Choice(SCOPES), help="Only keys with this scope.")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def export_keys(scope: str, path: Path) -> None:
    """Write the digests of the live keys to PATH, for a process without a database such as the gate."""
    from consent_api import keys as store

    with _owner() as connection:
        written = store.export(connection, scope=scope, path=path)
    click.echo(f"{written} keys written to {path}")


@contextmanager
def _owner() -> Iterator[Connection]:
    """A transaction of the database's owner; a database that does not answer is reported in a line."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    from consent_api.settings import OwnerSettings
    from consent_runtime.settings import load

    engine = create_engine(load(OwnerSettings).owner)
    try:
        with engine.begin() as connection:
            yield connection
    except OperationalError as error:
        raise click.ClickException(f"the database does not answer ({type(error.orig).__name__})") from None
    finally:
        engine.dispose()
