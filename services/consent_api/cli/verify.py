"""`consent-relay verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from consent_service.terminal import shown

if TYPE_CHECKING:
    from consent_api.operations.verify.compare import EntryDifference
    from consent_api.operations.verify.job import Checked, Summary

_REPAIRED_AT_ONCE = 500
_STEPS = 1_000


@click.command()
@click.option("--channel", help="Only this channel's list.")
@click.option("--tenant", help="Only this tenant's addresses.")
@click.option("--repair", is_flag=True, help="Have the merge write what differs again, from the ledger.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line: each difference, then the summary.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=900.0,
    show_default=True,
    help="Seconds to wait for the list to reach what was recorded when the ledger was read.",
)
def verify(channel: str | None, tenant: str | None, repair: bool, as_json: bool, wait: float) -> None:
    """Compare every entry of the suppression lists with the ledger, and name each difference.

    Safe at any time, beside a running system and during an import: what differs is read again once the merge has
    reached the moment at which the ledger was read. The relay does the same continuously (CONSENT_RELAY_SCRUB_DAYS).

    \b
    Exit code 0: no difference. 1: differences; each is a defect, or another client wrote to the topic.
    2: not everything was compared.
    The kinds limited and marked are no defects: the merge has made an entry stricter than the ledger, as it was too
    large, or after a loss.

    --repair publishes the ledger's decisions of these addresses again, by the bulk lane. A permission that the ledger
    does not hold is ended by a decision that is recorded (invalidated, source consent-relay); a refusal that it does
    not hold stays. Run the command once more to see the result.

    Requires CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE, _KAFKA and _REGISTRY.
    """
    from consent_api.cli import acts
    from consent_api.cli.publishing_ledger import publishing_ledger
    from consent_api.errors import LedgerUnavailableError, ListUnreadableError
    from consent_api.ledger.database import connect, refuse_denied
    from consent_api.operations.verify.composition import opened
    from consent_api.operations.verify.job import Summary
    from consent_api.operations.verify.repairing import RepairWriter
    from consent_api.rights.audit import Act
    from consent_api.settings import DatabaseSettings
    from consent_kafka.provisioning import refuse_without_access
    from consent_kafka.registry import connect_codec
    from consent_privacy.errors import KeyringError
    from consent_service import startup
    from consent_service.settings import load

    settings = load(DatabaseSettings)
    keyring = startup.keyring(settings)
    codec = connect_codec(settings, wait_seconds=10)
    refuse_without_access(settings, "verify")
    if channel is not None and channel not in settings.channels:
        raise click.BadParameter(f"there are {', '.join(settings.channels)}", param_hint="--channel")
    if tenant is not None and tenant not in keyring.tenants:
        raise click.BadParameter("the keyring has no hash keys for this tenant", param_hint="--tenant")
    engine = connect(settings.database, pool_size=2, application="consent-relay verify")
    refuse_denied(engine)
    ledger = publishing_ledger(engine, codec, settings, keyring)
    if repair:
        acts.record(Act.LISTS_REPAIRED, tenant=tenant, object_id=f"channel {channel}" if channel else "every channel")
    writer = RepairWriter(ledger, partitions=settings.partitions)
    summary = Summary()
    repaired = 0
    try:
        with (
            opened(
                settings,
                engine=engine,
                keyring=keyring,
                codec=codec,
                channel=channel,
                addresses_in_memory=1_000_000,
                page_size=2_000,
                batch=2_000,
                wait_seconds=wait,
            ) as work,
            click.progressbar(length=len(work.slices) * _STEPS, label="comparing", file=sys.stderr) as bar,
        ):
            for number, part in enumerate(work.slices):

                def progress(share: float, before: int = number * _STEPS) -> None:
                    bar.update(max(0, before + int(share * _STEPS) - bar.pos))

                found = work.verification.check(part, summary, tenant=tenant, progress=progress)
                for some in _parts(found):
                    for checked in some:
                        for difference in checked.differences:
                            click.echo(line_of(difference, as_json=as_json))
                    if repair:
                        repaired += writer.repair(some).sent
                progress(1.0)
    except (ListUnreadableError, LedgerUnavailableError) as error:
        raise _not_verified(f"stopped: {error}") from None
    except KeyringError as error:
        raise _not_verified(str(error)) from None
    finally:
        engine.dispose()
    click.echo(_summary(summary, repaired, repair=repair, as_json=as_json))
    if summary.defects:
        raise SystemExit(1)
    if summary.undecided:
        raise _not_verified(
            f"{summary.undecided} addresses seem to differ, and their list has not reached within {wait:.0f} s what was"
            " recorded when the ledger was read: see the resolved timestamps of relay and suppression"
        )


def _not_verified(why: str) -> click.ClickException:
    """What could not be compared is not known to be right; it is not known to differ either."""
    error = click.ClickException(why)
    error.exit_code = 2
    return error


def _parts(found: Iterable[Checked]) -> Iterator[list[Checked]]:
    remaining = iter(found)
    while some := list(islice(remaining, _REPAIRED_AT_ONCE)):
        yield some


def line_of(difference: EntryDifference, *, as_json: bool) -> str:
    at = difference.location
    if not as_json:
        # Key, tenant and purposes may be those of a forged entry.
        return shown(f"{difference.kind}: {at.tenant or '?'} {at.channel} {at.address_key}: {difference.detail}")
    return json.dumps(
        {
            "kind": difference.kind,
            "tenant": at.tenant,
            "channel": at.channel,
            "address_key": at.address_key,
            "detail": difference.detail,
        }
    )


def _summary(summary: Summary, repaired: int, *, repair: bool, as_json: bool) -> str:
    kinds = {kind.value: count for kind, count in sorted(summary.differences.items())}
    if as_json:
        return json.dumps(
            {
                "compared": summary.compared,
                "compared_again": summary.confirmed,
                "undecided": summary.undecided,
                "differences": kinds,
                "repairs_sent": repaired,
            }
        )
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no differences"
    sent = f"; repairs sent for {repaired} addresses" if repair else ""
    return f"compared {summary.compared} addresses, {summary.confirmed} of them twice: {named}{sent}"
