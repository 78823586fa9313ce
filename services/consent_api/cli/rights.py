"""`consent-relay rights`: requests of persons, and all that is held about one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from consent_api.cli.database_errors import ledger_errors
from consent_api.cli.tenants import chosen_tenant
from consent_service.terminal import shown

if TYPE_CHECKING:
    from consent_api.domain.validation import ValidationRules
    from consent_api.ledger.ledger import Ledger
    from consent_api.links.theme import Theme
    from consent_api.rights.erasure.erasures import Erasure
    from consent_api.rights.erasure.model import Certificate
    from consent_api.rights.person_ref import PersonRef
    from consent_api.rights.requests import RightsRequest

KINDS = ("access", "portability", "rectification", "erasure", "objection")
_TENANT = click.option("--tenant", help="Where the keyring has several.")
_BY = click.option("--by", required=True, help="Who does it; kept in the audit: no address.")
_SUBJECT = click.option("--subject-ref", help="The person's reference.")
_CHANNEL = click.option(
    "--channel", help="Of an address of the person, which is asked for, or read from standard input."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Installation:
    tenant: str
    ledger: Ledger
    rules: ValidationRules
    theme: Theme
    erasure_wait: int


@click.group()
def rights() -> None:
    """The requests by which persons exercise their rights, and what is held about them. Requires the settings of `api`.

    An address is asked for, or read from standard input: as an argument it would show in the list of processes.
    """


@rights.command("list")
@_TENANT
@click.option("--state", type=click.Choice(["open", "done", "refused"]), help="Only those in this state.")
def list_requests(tenant: str | None, state: str | None) -> None:
    """Print the requests, the most urgent first: id, kind, state, when it is due, by what identity is proven."""
    from consent_api.rights import requests
    from consent_api.rights.requests import State
    from consent_contracts.cloudevents import rfc3339

    wanted = State(state) if state is not None else None
    with _installation(tenant) as here:
        now, after = here.ledger.now(), None
        while found := here.ledger.transact(
            lambda c, last=after: requests.listed(  # type: ignore[misc]
                c, here.ledger.context.keyring, tenant=here.tenant, state=wanted, after=last
            )
        ):
            for each in found:
                fields = (each.request_id, each.kind, _state(each, now), rfc3339(each.due_at), each.identity)
                click.echo("\t".join(fields))
            after = found[-1].position


@rights.command("show")
@click.argument("request_id", type=click.UUID)
@_TENANT
def show_request(request_id: UUID, tenant: str | None) -> None:
    """Print one request, with the person."""
    from consent_api.rights import requests

    with _installation(tenant) as here, _refusals():
        keyring = here.ledger.context.keyring
        found = here.ledger.transact(lambda c: requests.find(c, keyring, tenant=here.tenant, request_id=request_id))
        _print(found, now=here.ledger.now())


@rights.command("open")
@click.option("--kind", required=True, type=click.Choice(KINDS))
@_TENANT
@_SUBJECT
@_CHANNEL
@click.option("--identity", required=True, help="How the person's identity was shown; no address, no name.")
@_BY
def open_request(
    kind: str, tenant: str | None, subject_ref: str | None, channel: str | None, identity: str, by: str
) -> None:
    """Open a request. It has to be answered within a month; an objection is recorded, in force, and done at once."""
    from consent_api.ledger.lanes import Lane
    from consent_api.rights import opening, texts
    from consent_api.rights.requests import Identity, Kind, NewRequest

    with _installation(tenant) as here, _refusals():
        new = NewRequest(
            person=_person(here, subject_ref, channel),
            kind=Kind(kind),
            identity=Identity.OPERATOR,
            identity_note=texts.required("--identity", identity, region=here.rules.default_region),
            by=_operator(here, by),
        )
        context = here.ledger.context
        found = here.ledger.write(Lane.LIVE, lambda c, now: opening.open_request(c, context, here.rules, new, now=now))
        _print(found, now=here.ledger.now())


@rights.command("resolve")
@click.argument("request_id", type=click.UUID)
@_TENANT
@click.option("--done", "state", flag_value="done", help="What was asked for is done, and the person knows.")
@click.option("--refused", "state", flag_value="refused", help="It is refused, and the person knows why.")
@click.option("--reason", help="Needed with --refused; no address, no name.")
@_BY
def resolve_request(request_id: UUID, tenant: str | None, state: str | None, reason: str | None, by: str) -> None:
    """Record what became of a request."""
    from consent_api.ledger import database
    from consent_api.rights import requests, texts
    from consent_api.rights.requests import State

    if state is None:
        raise click.UsageError("give --done or --refused")
    resolution = State(state)
    with _installation(tenant) as here, _refusals():
        read = texts.required if resolution is State.REFUSED else texts.plain
        why = read("--reason", reason, region=here.rules.default_region)
        keyring = here.ledger.context.keyring
        found = here.ledger.transact(
            lambda c: requests.resolve(
                c,
                keyring,
                tenant=here.tenant,
                request_id=request_id,
                state=resolution,
                reason=why,
                by=_operator(here, by),
                now=database.clock(c),
            )
        )
        _print(found, now=here.ledger.now())


@rights.command("extend")
@click.argument("request_id", type=click.UUID)
@_TENANT
@click.option("--reason", required=True, help="Inform the person within the first month; no address, no name.")
@_BY
def extend_request(request_id: UUID, tenant: str | None, reason: str, by: str) -> None:
    """Give a request two more months, once, within its first month."""
    from consent_api.ledger import database
    from consent_api.rights import requests, texts

    with _installation(tenant) as here, _refusals():
        why = texts.required("--reason", reason, region=here.rules.default_region)
        keyring = here.ledger.context.keyring
        found = here.ledger.transact(
            lambda c: requests.extend(
                c,
                keyring,
                tenant=here.tenant,
                request_id=request_id,
                reason=why,
                by=_operator(here, by),
                now=database.clock(c),
            )
        )
        _print(found, now=here.ledger.now())


@rights.command("export")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@_TENANT
@_SUBJECT
@_CHANNEL
@click.option(
    "--format", "format_", type=click.Choice(["json", "csv", "html", "pdf"]), default="json", show_default=True
)
@click.option("--language", type=click.Choice(["en", "fr"]), help="Left out: the tenant's.")
@click.option("--request", "request_id", type=click.UUID, help="The request that this answers, for the audit.")
@_BY
@click.option("--replace", is_flag=True, help="Replace TARGET.")
def export_data(
    target: Path,
    tenant: str | None,
    subject_ref: str | None,
    channel: str | None,
    format_: str,
    language: str | None,
    request_id: UUID | None,
    by: str,
    replace: bool,
) -> None:
    """Write all that is held about a person to TARGET, readable by you alone. What it answers when nothing is held is
    such a file, too."""
    from consent_api.rights import exporting, requests
    from consent_http.words import Language

    if target.exists() and not replace:
        raise click.ClickException(f"{target} exists: name another file, or --replace")
    with _installation(tenant) as here, _refusals():
        chosen: Language = here.theme.language if language is None else "fr" if language == "fr" else "en"
        keyring = here.ledger.context.keyring
        if request_id is not None:
            here.ledger.transact(lambda c: requests.find(c, keyring, tenant=here.tenant, request_id=request_id))
        found = exporting.export(
            here.ledger,
            _person(here, subject_ref, channel),
            here.theme,
            format=exporting.Format(format_),
            language=chosen,
            who=_operator(here, by),
            request_id=str(request_id) if request_id is not None else None,
        )
        partial = target.with_name(f"{target.name}.part")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
                for piece in found.pieces:
                    written.write(piece)
            partial.replace(target)
        except OSError as error:
            raise click.ClickException(f"{target} cannot be written: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)
    click.echo(f"wrote {target}" if found.held else f"wrote {target}: nothing is held about this person")


@rights.command("erase")
@_TENANT
@_SUBJECT
@_CHANNEL
@click.option("--dry-run", is_flag=True, help="Print what would go and what would stay, and change nothing.")
@click.option("--request", "request_id", type=click.UUID, help="The request that this carries out: resolved with it.")
@_BY
def erase_person(
    tenant: str | None, subject_ref: str | None, channel: str | None, dry_run: bool, request_id: UUID | None, by: str
) -> None:
    """Erase a person. Everything is refused at once; the API's processes then inform the tools, and erase."""
    from consent_api.ledger.lanes import Lane
    from consent_api.rights.erasure import erasures, steps
    from consent_api.rights.erasure.erasures import NewErasure

    with _installation(tenant) as here, _refusals():
        person, context = _person(here, subject_ref, channel), here.ledger.context
        if dry_run:
            now = here.ledger.now()
            found = here.ledger.transact(lambda c: erasures.preview(c, context.keyring, person, now=now))
            _print_certificate(found)
            return
        new = NewErasure(person=person, by=_operator(here, by), request_id=request_id, notify_seconds=here.erasure_wait)
        begun = here.ledger.write(Lane.LIVE, lambda c, now: steps.begin(c, context, new, now=now))
        _print_erasure(begun)


@rights.command("erasure")
@click.argument("erasure_id", type=click.UUID)
@_TENANT
def show_erasure(erasure_id: UUID, tenant: str | None) -> None:
    """Print how far an erasure is, and its certificate."""
    from consent_api.rights.erasure import erasures

    with _installation(tenant) as here, _refusals():
        _print_erasure(here.ledger.transact(lambda c: erasures.find(c, tenant=here.tenant, erasure_id=erasure_id)))


@rights.command("rectify")
@_TENANT
@_SUBJECT
@click.option("--channel", required=True, help="Of the two addresses, which are read from standard input: old, new.")
@click.option("--request", "request_id", type=click.UUID, help="The request that this carries out: resolved with it.")
@_BY
def rectify_address(
    tenant: str | None, subject_ref: str | None, channel: str, request_id: UUID | None, by: str
) -> None:
    """Correct an address of a person. The refusals go with them, the permissions do not."""
    from consent_api.ledger.lanes import Lane
    from consent_api.rights.rectification import rectify

    with _installation(tenant) as here, _refusals():
        asked = rectify.read(
            here.tenant,
            here.rules,
            channel=channel,
            old=_address("old address"),
            new=_address("new address", line=2),
            subject_ref=subject_ref,
            by=_operator(here, by),
            request_id=request_id,
        )
        context = here.ledger.context
        done = here.ledger.write(Lane.LIVE, lambda c, now: rectify.rectify(c, context, asked, now=now))
        click.echo(f"{done.new_key} in the place of {done.old_key}: {done.refusals} refusal(s) went with the person")


@rights.command("hold")
@_TENANT
@_SUBJECT
@_CHANNEL
@click.option("--reason", required=True, help="Shown to the person; no address, no name.")
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    help="It ends as this day begins, UTC. Left out: when released.",
)
@_BY
def hold_person(
    tenant: str | None, subject_ref: str | None, channel: str | None, reason: str, until: datetime | None, by: str
) -> None:
    """Refuse to erase a person, for a dispute or because a court asks for it."""
    from consent_api.ledger.lanes import Lane
    from consent_api.rights import texts
    from consent_api.rights.erasure import holds

    with _installation(tenant) as here, _refusals():
        why = texts.required("--reason", reason, region=here.rules.default_region)
        person, context = _person(here, subject_ref, channel), here.ledger.context
        end = int(until.replace(tzinfo=UTC).timestamp()) * 1_000_000 if until is not None else None
        held = here.ledger.write(
            Lane.LIVE,
            lambda c, now: holds.add(
                c, context.keyring, context.ids, person, reason=why, until=end, by=_operator(here, by), now=now
            ),
        )
        click.echo(held.hold_id)


@rights.command("release")
@click.argument("hold_id", type=click.UUID)
@_TENANT
@_BY
def release_hold(hold_id: UUID, tenant: str | None, by: str) -> None:
    """Release a legal hold."""
    from consent_api.ledger.lanes import Lane
    from consent_api.rights.erasure import holds

    with _installation(tenant) as here, _refusals():
        here.ledger.write(
            Lane.LIVE,
            lambda c, now: holds.release(c, tenant=here.tenant, hold_id=hold_id, by=_operator(here, by), now=now),
        )
        click.echo("released")


@rights.command("holds")
@_TENANT
def list_holds(tenant: str | None) -> None:
    """Print the legal holds in force: id, since when, until when, by whom, and the reason."""
    from consent_api.rights.erasure import holds
    from consent_contracts.cloudevents import rfc3339

    with _installation(tenant) as here:
        now = here.ledger.now()
        for each in here.ledger.transact(lambda c: holds.in_force(c, tenant=here.tenant, now=now)):
            until = rfc3339(each.until) if each.until is not None else "released"
            click.echo("\t".join(map(shown, (each.hold_id, rfc3339(each.set_at), until, each.set_by, each.reason))))


@rights.command("audit")
@_TENANT
def show_audit(tenant: str | None) -> None:
    """Print who did what about persons' rights, the newest first: when, who, what, and the request or a keyed hash."""
    from consent_api.rights import audit
    from consent_contracts.cloudevents import rfc3339

    with _installation(tenant) as here:
        before: int | None = None
        while found := here.ledger.transact(
            lambda c, last=before: audit.entries(c, audit.Filter(tenant=here.tenant), before=last)  # type: ignore[misc]
        ):
            for each in found:
                click.echo("\t".join(map(shown, (rfc3339(each.at), each.who, each.act, each.object_id or "-"))))
            before = found[-1].entry_id


def _print_erasure(found: Erasure) -> None:
    from consent_contracts.cloudevents import rfc3339

    click.echo(f"erasure: {found.erasure_id}")
    click.echo(f"state: {found.state}")
    if found.ended_at is None:
        click.echo(f"the tools have until: {rfc3339(found.notify_until)}")
    if found.certificate is not None:
        _print_certificate(found.certificate)


def _print_certificate(found: Certificate) -> None:
    from consent_contracts.cloudevents import rfc3339

    for goes in found.goes:
        by = f" (gone by {rfc3339(goes.gone_by)})" if goes.gone_by is not None else ""
        click.echo(f"goes: {'' if goes.count is None else f'{goes.count} '}{goes.what}{by}")
    for stays in found.stays:
        review = f"; review on {rfc3339(stays.review_at)}" if stays.review_at is not None else ""
        click.echo(f"stays: {'' if stays.count is None else f'{stays.count} '}{stays.what}. {stays.ground}{review}")
    for name, delivered in sorted(found.destinations.items()):
        click.echo(f"tool {shown(name)}: {delivered}")


def _print(found: RightsRequest, *, now: int) -> None:
    from consent_contracts.cloudevents import rfc3339

    person = found.person
    lines = {
        "request": found.request_id,
        "kind": found.kind.value,
        "state": _state(found, now),
        "erasure": found.erasure_id,
        "subject_ref": person.subject_ref if person is not None else None,
        "channel": person.channel if person is not None else None,
        "address": person.address if person is not None else None,
        "identity": found.identity.value,
        "identity_note": found.identity_note,
        "opened": f"{rfc3339(found.opened_at)} by {found.opened_by}",
        "due": rfc3339(found.due_at),
        "extended": found.extension_reason,
        "resolved": f"{rfc3339(found.resolved_at)} by {found.resolved_by}" if found.resolved_at is not None else None,
        "reason": found.reason,
    }
    for label, value in lines.items():
        if value is not None:
            click.echo(f"{label}: {shown(value.replace(chr(10), ' '))}")


def _state(found: RightsRequest, now: int) -> str:
    if found.is_erasing:
        return "erasing"
    return "overdue" if found.is_overdue(now) else found.state.value


def _person(here: _Installation, subject_ref: str | None, channel: str | None) -> PersonRef:
    from consent_api.rights import opening

    address: str | None = None
    if channel is not None:
        address = _address("address")
    return opening.person(here.tenant, here.rules, subject_ref=subject_ref, channel=channel, address=address)


def _address(what: str, *, line: int = 1) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(what, err=True))
    found = sys.stdin.readline().strip()
    if not found:
        raise click.ClickException(f"standard input has no {what}: write it as line {line}, each address on its own")
    return found


def _operator(here: _Installation, by: str) -> str:
    from consent_api.rights import audit, texts

    return audit.by_operator(texts.required("--by", by, region=here.rules.default_region))


@contextmanager
def _refusals() -> Iterator[None]:
    from consent_api.errors import RightsError, SubmissionInvalidError

    try:
        yield
    except (RightsError, SubmissionInvalidError) as error:
        raise click.ClickException(f"{error}.") from None


@contextmanager
def _installation(tenant: str | None) -> Iterator[_Installation]:
    from consent_api.cli import wrong_entries
    from consent_api.http.app import connect_ledger
    from consent_api.ledger.purposes import with_used
    from consent_api.links import theme
    from consent_api.settings import ApiSettings
    from consent_service.settings import load

    settings = load(ApiSettings)
    ledger = connect_ledger(settings, wait_seconds=10)
    tenants = ledger.context.keyring.tenants
    try:
        tenant = chosen_tenant(tenant, tenants)
        with ledger_errors():
            yield _Installation(
                tenant=tenant,
                ledger=ledger,
                rules=with_used(settings.rules(tenants, on_wrong=wrong_entries.warn), ledger.transact),
                theme=theme.of(settings.themes(tenants, on_wrong=wrong_entries.warn), tenant),
                erasure_wait=settings.erasure_wait,
            )
    finally:
        ledger.engine.dispose()
