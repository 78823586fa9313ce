"""`consent-relay ingest`."""

from __future__ import annotations

import sys

import click


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
    from consent_api.ingest.process import run
    from consent_api.settings import IngestSettings
    from consent_service.exits import exit_with_errors
    from consent_service.settings import load

    try:
        sys.exit(run(load(IngestSettings)))
    except MisconfiguredError as error:
        exit_with_errors([str(error)])
