"""`consent-relay notices`: the registry of what persons read before choosing."""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from consent_api.cli.database_errors import ledger_errors
from consent_service.terminal import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from consent_api.ledger.notices import Screenshot

T = TypeVar("T")
_STEPS = 1_000


@click.group()
def notices() -> None:
    """Notices by id, version and language. Requires CONSENT_RELAY_API_DATABASE."""


@notices.command("add")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", required=True)
@click.option("--id", "notice_id", required=True, help="As evidence.notice_id has it.")
@click.option("--version", required=True, help="As evidence.notice_version has it. It never changes.")
@click.option("--language", required=True, help="BCP 47, such as fr or fr-FR.")
@click.option("--title", required=True)
@click.option("--valid-from", type=click.DateTime(["%Y-%m-%d"]), help="Day (UTC) since which it is shown.")
@click.option(
    "--screenshot",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A picture of how it looked; its hash is kept, not the picture.",
)
@click.option("--screenshot-place", help="Where you keep the picture.")
def add_notice(
    source: Path,
    tenant: str,
    notice_id: str,
    version: str,
    language: str,
    title: str,
    valid_from: datetime | None,
    screenshot: Path | None,
    screenshot_place: str | None,
) -> None:
    """Register the text of SOURCE (UTF-8, exactly as it is shown) and print its hash, for evidence.notice_hash."""
    import re

    from consent_api.errors import NoticeChangedError
    from consent_api.http.notices import LANGUAGE, NAME
    from consent_api.ledger import database
    from consent_api.ledger import notices as registry
    from consent_api.ledger.notices import Notice
    from consent_api.rights import audit
    from consent_api.rights.audit import Act

    for name, value, pattern in (
        ("--id", notice_id, NAME),
        ("--version", version, NAME),
        ("--language", language, LANGUAGE),
    ):
        if re.fullmatch(pattern, value) is None:
            raise click.BadParameter(f"must match {pattern}", param_hint=name)
    if (screenshot is None) is not (screenshot_place is None):
        raise click.UsageError("give --screenshot and --screenshot-place, or neither")
    try:
        text = source.read_text("utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{source}: is no text in UTF-8") from None
    if not text.strip() or "\0" in text:
        raise click.ClickException(f"{source}: holds no text")
    notice = Notice(
        notice_id=notice_id,
        version=version,
        language=language,
        title=title,
        text=text,
        valid_from=int(valid_from.replace(tzinfo=UTC).timestamp()) * 1_000_000 if valid_from is not None else None,
        screenshot=_screenshot(screenshot, screenshot_place or "") if screenshot is not None else None,
    )

    def register(connection: Connection) -> bool:
        now = database.clock(connection)
        is_new = registry.add(connection, tenant, notice, now=now)
        if is_new:
            who = audit.by_operator()
            audit.add(connection, tenant=tenant, who=who, act=Act.NOTICE_REGISTERED, object_id=notice.name, at=now)
        return is_new

    try:
        is_new = _transact(register)
    except NoticeChangedError as error:
        raise click.ClickException(f"{error}: register it as a version of its own") from None
    click.echo(f"{notice.hash}  {'registered' if is_new else 'registered before'}")


@notices.command("list")
@click.option("--tenant", required=True)
def list_notices(tenant: str) -> None:
    """Print id, version, language, hash and title of each."""
    from consent_api.ledger import notices as registry

    after = ("", "", "")
    while found := _transact(lambda c, last=after: registry.listed(c, tenant, after=last)):  # type: ignore[misc]
        for each in found:
            parts = (each.notice_id, each.version, each.language, each.hash, each.title)
            click.echo("\t".join(shown(part.replace("\t", " ").replace("\n", " ")) for part in parts))
        after = (found[-1].notice_id, found[-1].version, found[-1].language)


@notices.command("show")
@click.argument("notice_id")
@click.argument("version")
@click.argument("language")
@click.option("--tenant", required=True)
def show_notice(notice_id: str, version: str, language: str, tenant: str) -> None:
    """Print the text of one, exactly as it was registered."""
    from consent_api.ledger import notices as registry

    found = _transact(lambda c: registry.find(c, tenant, notice_id, version, language))
    if found is None:
        raise click.ClickException("there is no such notice: see consent-relay notices list")
    click.echo(found.text, nl=False)


@notices.command("end-older")
@click.argument("notice_id")
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
@click.option("--tenant", required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def end_older(notice_id: str, versions: tuple[str, ...], tenant: str, yes: bool) -> None:
    """End the permissions that rest on an older version of a notice than VERSION.

    For a change so great that people have to be asked again. Where languages have versions of their own, as those of
    the preference centre, name the one that people read now in each. From then on a permission that names an older
    version is refused (stale_notice). Those recorded before end, each by a decision of its own (invalidated, by the
    bulk lane), also those that name a version which is not registered. A yes to VERSION or a newer one stays, and no
    refusal is lifted. It cannot be taken back; people can say yes again.

    Interrupted, run it again: it goes on. Processes of the release before know no stale versions: run it once more when
    none is left, until it ends nothing.

    Requires CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE, _KAFKA and _REGISTRY.
    """
    from consent_api.cli import acts
    from consent_api.cli.publishing_ledger import publishing_ledger
    from consent_api.errors import ChosenVersionsError, LedgerUnavailableError
    from consent_api.ledger import notices as registry
    from consent_api.ledger.database import connect, refuse_denied
    from consent_api.operations import stale_notices
    from consent_api.rights import audit
    from consent_api.rights.audit import Act
    from consent_api.settings import DatabaseSettings
    from consent_kafka.registry import connect_codec
    from consent_privacy.errors import KeyringError
    from consent_service import startup
    from consent_service.settings import load

    settings = load(DatabaseSettings)
    keyring = startup.keyring(settings)
    if tenant not in keyring.tenants:
        raise click.BadParameter("the keyring has no hash keys for this tenant", param_hint="--tenant")
    engine = connect(settings.database, pool_size=2, application="consent-relay notices")
    refuse_denied(engine)
    ledger = publishing_ledger(engine, connect_codec(settings, wait_seconds=10), settings, keyring)

    def require_keys() -> None:
        if startup.keyring(settings).hash_keys != keyring.hash_keys:
            raise click.ClickException(
                "stopped: the keyring has other hash keys now. Run the command again: it goes on."
            )

    try:
        known = ledger.transact(lambda c: registry.versions(c, tenant, notice_id))
        older = registry.older(known, versions)
        for each in older:
            since = datetime.fromtimestamp(each.registered_at / 1_000_000, UTC)
            click.echo(f"older: {shown(each.version)} ({', '.join(each.languages)}, since {since:%Y-%m-%d})", err=True)
        if not older:
            click.echo("no older version is registered", err=True)
        if not yes:
            click.confirm(
                "End every permission that names one of them, or a version that is not registered?", abort=True
            )
        acts.record(Act.NOTICES_MADE_STALE, tenant=tenant, object_id=f"{notice_id} before {', '.join(versions)}")
        stale_notices.mark(ledger, tenant, notice_id, chosen=versions, stale=[each.version for each in older])
        stale = stale_notices.StaleNotice(tenant=tenant, notice_id=notice_id, by=audit.by_operator())
        with click.progressbar(length=_STEPS, label="ending permissions", file=sys.stderr) as bar:
            ended = stale_notices.end_permissions(
                ledger,
                stale,
                partitions=settings.partitions,
                progress=lambda share: bar.update(max(0, int(share * _STEPS) - bar.pos)),
                require_keys=require_keys,
            )
    except ChosenVersionsError as error:
        raise click.ClickException(f"{notice_id}: {error}") from None
    except LedgerUnavailableError as error:
        raise click.ClickException(f"stopped: {error}. Run the command again: it goes on.") from None
    except KeyringError as error:
        raise click.ClickException(str(error)) from None
    finally:
        engine.dispose()
    click.echo(f"ended at {ended.addresses} addresses")
    if ended.unopened:
        raise click.ClickException(
            f"{ended.unopened} permissions have not ended, as the keyring cannot open their address: give it the key,"
            " and run the command again"
        )


def _screenshot(path: Path, place: str) -> Screenshot:
    from consent_api.ledger.notices import Screenshot

    kinds = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
    kind = kinds.get(path.suffix.lower(), "application/octet-stream")
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return Screenshot(media_type=kind, sha256=digest, place=place)


def _transact(work: Callable[[Connection], T]) -> T:
    from consent_api.ledger import database
    from consent_api.settings import LedgerSettings
    from consent_service.settings import load

    engine = database.connect(load(LedgerSettings).database, pool_size=1, application="consent-relay notices")
    try:
        database.refuse_denied(engine)
        with ledger_errors():
            return database.transact(engine, work)
    finally:
        engine.dispose()
