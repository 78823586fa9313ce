"""`consent-relay relay`."""

from __future__ import annotations

import sys

import click


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
    from consent_api.outbox_relay.process import run
    from consent_api.settings import OutboxRelaySettings
    from consent_service.settings import load

    sys.exit(run(load(OutboxRelaySettings)))
