"""`consent-relay republish`."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_api.cli.database_errors import ledger_errors
from consent_api.errors import NotPublishedError

if TYPE_CHECKING:
    from consent_api.operations.republish.job import Report, RepublishProgress
    from consent_contracts.topics import Topics


@click.command()
@click.option("--tenant", help="Only this tenant's decisions.")
@click.option("--channel", help="Only this channel's.")
@click.option("--since", metavar="RFC3339", help="Only what reached an address at or after this moment.")
@click.option("--key-id", help="Only under this hash key: what a key that has just become live needs (R12).")
@click.option("--dry-run", is_flag=True, help="Count; publish nothing.")
@click.option("--restart", is_flag=True, help="Begin again instead of where an interrupted run stopped.")
@click.option(
    "--progress-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where an interrupted run notes how far it came. Default: republish.json in CONSENT_RELAY_STATE_DIR.",
)
def republish(
    tenant: str | None,
    channel: str | None,
    since: str | None,
    key_id: str | None,
    dry_run: bool,
    restart: bool,
    progress_file: Path | None,
) -> None:
    """Rebuild Kafka from the ledger: publish every recorded decision again, once per live hash key.

    Safe at any time, and beside a running system: order and repetitions change nothing. It goes by the bulk topic, so
    that nothing live waits for it, and waits while the relays cannot keep the bulk lane's resolved timestamp within a
    minute, or the suppression stage has not read what was published a minute ago. Interrupted, it goes on where it
    stopped.

    After a hash key was added, and every service has read it, run it for the tenant, whole or with --key-id:
    consent-relay keyring promote and retire refuse until such a run has ended (--channel and --since do not count).

    After topics were wiped the list knows nothing until this has ended: stop every service, run consent-relay topics
    apply, start the suppression stage and the relay, run this, and start the others when nothing of it lags.

    Requires CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE, _KAFKA and _REGISTRY.
    """
    from consent_api.cli import acts
    from consent_api.errors import CheckpointMismatchError, LedgerUnavailableError
    from consent_api.ledger import backlog
    from consent_api.ledger.database import connect, refuse_denied, transact
    from consent_api.ledger.outbox_messages import ChangeMessages
    from consent_api.operations.republish import job, pages
    from consent_api.operations.republish.checkpoint import CheckpointFile
    from consent_api.operations.republish.pacing import MERGE_GROUP, BulkPacing, MergedOffsets, MergePacing
    from consent_api.outbox_relay.publisher import Publisher
    from consent_api.rights.audit import Act
    from consent_api.settings import DatabaseSettings
    from consent_kafka import clients
    from consent_kafka.errors import ProvisionError
    from consent_kafka.provisioning import refuse_without_access
    from consent_kafka.registry import connect_codec
    from consent_kafka.topic_admin import TopicAdmin
    from consent_privacy.errors import KeyringError
    from consent_service import startup
    from consent_service.settings import load

    selection = pages.Selection(tenant=tenant, channel=channel, since=_micros(since), key_id=key_id)
    settings = load(DatabaseSettings)
    keyring = startup.keyring(settings)
    if channel is not None and channel not in settings.channels:
        raise click.BadParameter(f"there are {', '.join(settings.channels)}", param_hint="--channel")
    codec = connect_codec(settings, wait_seconds=10)
    refuse_without_access(settings, "republish")
    if key_id is not None and not any(key.id == key_id for keys in keyring.hash_keys.values() for key in keys):
        raise click.BadParameter("the keyring has no hash key with this id", param_hint="--key-id")
    if tenant is not None and tenant not in keyring.tenants:
        raise click.BadParameter("the keyring has no hash keys for this tenant", param_hint="--tenant")
    try:
        topics = TopicAdmin(settings.kafka, settings.kafka_client, wait_seconds=10).ids(_rebuilt(settings.topics))
    except ProvisionError as error:
        raise click.ClickException(str(error)) from None
    notes = CheckpointFile(
        progress_file or settings.state_dir / "republish.json",
        selection,
        hash_keys={name: [key.id for key in keys] for name, keys in keyring.hash_keys.items()},
        topics=topics,
    )
    engine = connect(settings.database, pool_size=1, application="consent-relay republish")
    refuse_denied(engine)
    outbox = ChangeMessages(codec=codec, topics=settings.topics, partitions=settings.partitions)
    pacing = BulkPacing(
        lambda: transact(engine, lambda connection: backlog.read(connection, partitions=settings.partitions)),
        _waiting,
    )
    # Its consumer only asks, so there is nothing to close but the connection, which ends with the process.
    merge = MergePacing(
        MergedOffsets(
            clients.consumer(settings.kafka, settings.topics.group(MERGE_GROUP), settings.kafka_client),
            topic=settings.topics.changes_bulk,
            partitions=settings.partitions,
        ),
        _waiting_for_merge,
    )

    def before_page() -> None:
        pacing.wait()
        merge.wait()

    try:
        with ledger_errors(), engine.connect() as connection:
            show = _shown(pages.estimated_rows(connection))
        if dry_run:
            total = job.count(engine=engine, keyring=keyring, outbox=outbox, selection=selection, report=show)
            click.echo(f"would publish {total.events} events of {total.decisions} decisions")
            return
        narrowed = {"tenant": tenant, "channel": channel, "since": since, "key": key_id}
        named = ", ".join(f"{name} {value}" for name, value in narrowed.items() if value is not None)
        acts.record(Act.REPUBLISHED, tenant=tenant, object_id=named or "everything")
        start = None if restart else notes.load()
        if start is not None:
            click.echo("going on where the last run stopped", err=True)

        def report(progress: RepublishProgress) -> None:
            notes.save(progress.cursor)
            show(progress)

        total = job.republish(
            engine=engine,
            keyring=keyring,
            outbox=outbox,
            publisher=Publisher(partial(clients.producer, settings.kafka, settings.kafka_client, linger_ms=20)),
            selection=selection,
            start=start or pages.Cursor(),
            report=report,
            before_page=before_page,
            acknowledged=merge.published,
        )
    except CheckpointMismatchError as other:
        raise click.ClickException(
            f"{other} notes an unfinished run with other options, hash keys or topics: begin again with --restart"
        ) from None
    except (NotPublishedError, LedgerUnavailableError) as error:
        raise click.ClickException(
            f"stopped: {error}. What was published is kept; the same command goes on from there."
        ) from None
    except KeyringError as error:
        raise click.ClickException(str(error)) from None
    finally:
        engine.dispose()
    notes.clear()
    click.echo(f"published {total.events} events of {total.decisions} decisions")


def _rebuilt(topics: Topics) -> list[str]:
    """What a run fills, and what is filled from that."""
    return [topics.changes_bulk, *map(topics.suppression, topics.channels)]


def _micros(since: str | None) -> int | None:
    from consent_api.domain.validation import rfc3339

    try:
        return rfc3339(since)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None


def _waiting_for_merge(age_seconds: float) -> None:
    click.echo(f"waiting: the merge has not read what was published {age_seconds:.0f} s ago", err=True)


def _waiting(age_seconds: float) -> None:
    click.echo(f"waiting: the bulk lane's resolved timestamp is {age_seconds:.0f} s old", err=True)


def _shown(about: int) -> Report:
    """A line every two seconds, on standard error so that the result can be piped."""
    began = time.monotonic()
    last = began

    def show(progress: RepublishProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < 2.0:
            return
        last = now
        share = f" of about {about}" if about >= progress.read else ""
        rate = progress.events / (now - began)
        click.echo(f"{progress.read}{share} decisions read, {progress.events} events, {rate:.0f}/s", file=sys.stderr)

    return show
