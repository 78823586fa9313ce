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

    Any number of relays may run at once. While the broker or the database is away the rows wait, and
    consent_relay_outbox_oldest_age_seconds tells for how long; but over a topic with wrong settings it does not start.
    Wants CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE and CONSENT_RELAY_KAFKA.
    """
    from consent_api.outbox_relay.process import OutboxRelaySettings, run
    from consent_runtime.settings import load

    sys.exit(run(load(OutboxRelaySettings)))


@click.command()
def ingest() -> None:
    """Record what comes in by Kafka: submissions (consent.inbound.v1) and receipts (propagation.receipts.v1).

    What cannot be read or breaks a rule goes to consent-api.dead-letters.v1 with the reason; see
    consent-relay dead-letters. Several may run at once: give each its own CONSENT_RELAY_INSTANCE_ID.
    Wants CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE, CONSENT_RELAY_KAFKA and CONSENT_RELAY_REGISTRY.
    """
    from consent_api.errors import MisconfiguredError
    from consent_api.ingest.process import IngestSettings, run
    from consent_runtime.settings import load
    from consent_runtime.starting import refuse

    try:
        sys.exit(run(load(IngestSettings)))
    except MisconfiguredError as error:
        refuse([str(error)])
