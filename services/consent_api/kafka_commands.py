"""The commands of this service's Kafka sides. Heavy imports wait until a command runs."""

from __future__ import annotations

import sys

import click

from .cli.republish import republish
from .dead_letters_command import dead_letters

__all__ = ["dead_letters", "ingest", "relay", "republish"]


@click.command()
def relay() -> None:
    """Publish what the ledger has recorded: outbox rows to Kafka, deleted once acknowledged.

    Live decisions go to consent.changes.v1, bulk ones to consent.changes.bulk.v1; live never waits for bulk. On both
    topics the relay states up to when the ledger is complete there (consent_relay_resolved_age_seconds), and it repairs
    what Kafka has lost, from the ledger. Any number of relays may run at once. While the broker or the database does
    not answer the rows wait, and consent_relay_outbox_oldest_age_seconds shows for how long; but over a topic with
    wrong settings it does not start.
    Requires CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE, CONSENT_RELAY_KAFKA and CONSENT_RELAY_REGISTRY.
    """
    from consent_api.outbox_relay.process import OutboxRelaySettings, run
    from consent_runtime.settings import load

    sys.exit(run(load(OutboxRelaySettings)))


@click.command()
def ingest() -> None:
    """Record what comes in by Kafka: live submissions (consent.inbound.v1), bulk submissions (consent.inbound.bulk.v1)
    and receipts (propagation.receipts.v1).

    Live goes first, and bulk keeps a tenth; bulk is slowed while the bulk lane is more than a minute late. What cannot
    be read or breaks a rule goes to consent-api.dead-letters.v1 with the reason; see consent-relay dead-letters.
    Several may run at once: give each its own CONSENT_RELAY_INSTANCE_ID.
    Requires CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE, CONSENT_RELAY_KAFKA and CONSENT_RELAY_REGISTRY.
    """
    from consent_api.errors import MisconfiguredError
    from consent_api.ingest.process import IngestSettings, run
    from consent_runtime.settings import load
    from consent_runtime.starting import refuse

    try:
        sys.exit(run(load(IngestSettings)))
    except MisconfiguredError as error:
        refuse([str(error)])
