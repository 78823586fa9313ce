"""`consent-relay keys`: the API keys, managed as the owner of the database."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_api.cli.database_errors import ledger_errors

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consent_api.ledger.key_store import KeyExport
    from consent_api.rights.audit import Act

SCOPES = ("submit", "read", "check", "links", "admin", "rights:read", "rights:write", "console", "operate")


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
    " admin: operators' routes, such as the list of replies in doubt; rights:read: persons' requests; rights:write:"
    " opens and resolves them, exports what is held about a person, erases, corrects and holds; console: signing in"
    " to the console, whose pages need the others; operate: the status page, which shows the whole installation.",
)
@click.option("--name", required=True, help="Who will use it, so that you know later which one to revoke.")
@click.option(
    "--no-lift",
    is_flag=True,
    help="Permissions sent with it never lift a refusal: where one decides they are refused. For imports and feeds,"
    " such as a CRM's or a supplier's. Where people choose themselves, such as a preference centre, leave it out.",
)
def create_key(tenant: str, scopes: tuple[str, ...], name: str, no_lift: bool) -> None:
    """Print a new API key. It is shown this once: only a digest is kept.

    The API accepts it at once. It is also written into every file that `keys export` wrote for its scopes on this host,
    which the gate reads again at its next request; files on other hosts are named on standard error.
    """
    from consent_api.ledger import key_store
    from consent_api.rights.audit import Act
    from consent_http.api_keys import parse
    from consent_service.clock import now_micros

    with _owner() as connection:
        token = key_store.create(
            connection, tenant=tenant, scopes=scopes, name=name, now=now_micros(), may_lift=not no_lift
        )
        parsed = parse(token)
        assert parsed is not None, "create makes tokens that parse reads"
        _audited(connection, Act.KEY_CREATED, tenant=tenant, object_id=parsed[0])
        exports = key_store.exports_of(connection, parsed[0])
    click.echo(token)
    done, left = _export_each_again(exports)
    for path in done:
        click.echo(f"written to {path}", err=True)
    if left:
        click.echo("Who reads these files does not accept it yet. Run there:", err=True)
        click.echo("".join(f"  {line}\n" for line in left), nl=False, err=True)


@keys.command("list")
@click.option("--tenant", help="Only this tenant's keys.")
def list_keys(tenant: str | None) -> None:
    """List the keys: id, tenant, scopes, name, since when, whether they may lift a refusal, and whether revoked."""
    from consent_api.ledger import key_store
    from consent_contracts.cloudevents import rfc3339
    from consent_service.terminal import shown

    with _owner() as connection:
        found = key_store.list_keys(connection, tenant=tenant)
    for key in found:
        state = "live" if key.revoked_at is None else f"revoked {rfc3339(key.revoked_at)}"
        since = rfc3339(key.created_at)
        lifts = "may-lift" if key.may_lift else "no-lift"
        columns = key.id, key.tenant, ",".join(key.scopes), key.name, since, lifts, state
        click.echo("\t".join(map(shown, columns)))


@keys.command("revoke")
@click.argument("key_id")
def revoke_key(key_id: str) -> None:
    """Revoke the key with this id (the part between the underscores).

    The API refuses it within 5 seconds. It is also taken out of every file that `keys export` wrote on this host, which
    the gate reads again at its next request. Files on other hosts, and those that cannot be written, are named with
    what is to be run there; the command then ends with 1.
    """
    from consent_api.ledger import key_store
    from consent_api.rights.audit import Act
    from consent_service.clock import now_micros

    with _owner() as connection:
        revoked = key_store.revoke(connection, key_id, now=now_micros())
        if revoked:
            tenant = key_store.tenant_of(connection, key_id)
            _audited(connection, Act.KEY_REVOKED, tenant=tenant, object_id=key_id)
        exports = key_store.exports_of(connection, key_id)
    if not revoked and not exports:
        raise click.ClickException("no live key has this id; see: consent-relay keys list")
    click.echo("revoked" if revoked else "was revoked before")
    done, left = _export_each_again(exports)
    for path in done:
        click.echo(f"taken out of {path}")
    if left:
        cure = (
            "The key is still accepted by who reads these files. Run there, and copy the file again if it was copied:"
        )
        forget = "(of a file that is gone: consent-relay keys forget-export HOST PATH)"
        raise click.ClickException("\n  ".join([cure, *left, forget]))
    if not revoked:
        raise click.ClickException("no live key has this id; see: consent-relay keys list")


@keys.command("export")
@click.option("--scope", required=True, type=click.Choice(SCOPES), help="Only keys with this scope.")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def export_keys(scope: str, path: Path) -> None:
    """Write the digests of the live keys to PATH, for a process without a database such as the gate.

    Host and PATH are kept in the database: `keys revoke` writes the file again, or reports that it must be.
    """
    from consent_api.ledger import key_store
    from consent_api.rights.audit import Act
    from consent_service.clock import now_micros

    with _owner() as connection:
        _audited(connection, Act.KEYS_EXPORTED, tenant=None, object_id=f"scope {scope}: {path.resolve()}")
        written = key_store.export(connection, scope=scope, path=path, host=platform.node(), now=now_micros())
    click.echo(f"{written} keys written to {path}")


@keys.command("forget-export")
@click.argument("host")
@click.argument("path", type=click.Path(path_type=Path))
def forget_export(host: str, path: Path) -> None:
    """Forget a file that `keys export` wrote and that no process reads any more."""
    from consent_api.ledger import key_store
    from consent_api.rights.audit import Act

    with _owner() as connection:
        if not key_store.forget_export(connection, host=host, path=path):
            raise click.ClickException("no such export is known")
        _audited(connection, Act.KEY_EXPORT_FORGOTTEN, tenant=None, object_id=f"{host}: {path}")
    click.echo("forgotten")


def _audited(connection: Connection, act: Act, *, tenant: str | None, object_id: str) -> None:
    from consent_api.ledger import database
    from consent_api.rights import audit

    at = database.clock(connection)
    audit.add(connection, tenant=tenant, who=audit.by_operator(), act=act, object_id=object_id, at=at)


def _export_each_again(exports: Iterable[KeyExport]) -> tuple[list[Path], list[str]]:
    """The files that were written again, and one line with the command for each that could not be."""
    host = platform.node()
    done, left = [], []
    for each in exports:
        why = f"on host {each.host}" if each.host != host else _export_again(each.scope, each.path)
        if why is None:
            done.append(each.path)
        else:
            left.append(f"{each.path} ({why}): consent-relay keys export --scope {each.scope} {each.path}")
    return done, left


def _export_again(scope: str, path: Path) -> str | None:
    """None, or why the file could not be written."""
    from consent_api.ledger import key_store
    from consent_service.clock import now_micros

    if not path.exists():
        return "not on this host any more"
    try:
        with _owner() as connection:
            key_store.export(connection, scope=scope, path=path, host=platform.node(), now=now_micros())
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return None


@contextmanager
def _owner() -> Iterator[Connection]:
    """A transaction of the database's owner; a database that does not answer is reported in a line."""
    from sqlalchemy import create_engine

    from consent_api.ledger.database import refuse_denied
    from consent_api.settings import OwnerSettings
    from consent_service.settings import load

    engine = create_engine(load(OwnerSettings).owner)
    try:
        refuse_denied(engine, "CONSENT_RELAY_API_DATABASE_OWNER")
        with ledger_errors("CONSENT_RELAY_API_DATABASE_OWNER"), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
