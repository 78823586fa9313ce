"""`consent-relay audit`: who did what to the installation and about persons' rights."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from consent_api.cli.database_errors import ledger_errors

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def audit() -> None:
    """The audit: the API and commands add entries, and none changes one. Needs CONSENT_RELAY_API_DATABASE."""


@audit.command("list")
@click.option("--tenant", help="Only this tenant's entries. Without it, all: those of the installation have none.")
@click.option("--since", type=_MOMENT, help="From this moment on (UTC).")
@click.option("--until", type=_MOMENT, help="Before this moment (UTC).")
@click.option("--who", help="As an entry has it: key:ID, client:ID, operator:USER on HOST, person.")
@click.option("--act", help="Only of this kind, such as key_revoked or erasure_begun.")
def list_entries(
    tenant: str | None, since: datetime | None, until: datetime | None, who: str | None, act: str | None
) -> None:
    """Print the entries as JSON lines, the newest first: entry_id, at, tenant, who, act, object_id."""
    from consent_api.ledger.database import connect, refuse_denied, transact
    from consent_api.rights.audit import Act, Filter, entries
    from consent_api.settings import LedgerSettings
    from consent_contracts.cloudevents import rfc3339
    from consent_service.settings import load

    if act is not None and act not in tuple(Act):
        raise click.BadParameter(f"is one of {', '.join(Act)}", param_hint="--act")
    wanted = Filter(tenant=tenant, since=_micros(since), until=_micros(until), who=who, act=act)
    engine = connect(load(LedgerSettings).database, pool_size=1, application="consent-relay audit")
    refuse_denied(engine)
    before: int | None = None
    try:
        with ledger_errors():
            while found := transact(engine, lambda c, last=before: entries(c, wanted, before=last)):  # type: ignore[misc]
                for each in found:
                    line = {
                        "entry_id": each.entry_id,
                        "at": rfc3339(each.at),
                        "tenant": each.tenant,
                        "who": each.who,
                        "act": each.act,
                        "object_id": each.object_id,
                    }
                    click.echo(json.dumps(line))
                before = found[-1].entry_id
    finally:
        engine.dispose()


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000
