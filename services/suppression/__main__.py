"""The commands of the list: `suppression` writes it, `gate` answers from it."""

from __future__ import annotations

import click


@click.command()
def suppression() -> None:
    """Merge consent changes into the suppression topics, one entry per address.

    Reads consent.changes.v1 and consent.changes.bulk.v1, live changes first, and writes suppression.<channel>.v1 and
    suppression.resolved.v1. Run as many as there are partitions at most; each
    needs its own CONSENT_RELAY_INSTANCE_ID. Local state under CONSENT_RELAY_STATE_DIR is rebuilt when it is lost.
    """
    import sys

    from consent_runtime import settings, starting
    from consent_runtime.provision import require_topics

    from .app import run_suppression
    from .settings import SuppressionSettings

    loaded = settings.load(SuppressionSettings)
    starting.begin_logs(loaded)
    topics = loaded.topics
    require_topics(
        loaded,
        [
            topics.changes,
            topics.changes_bulk,
            topics.resolved,
            topics.dead_letters("suppression"),
            *map(topics.suppression, topics.channels),
        ],
    )
    sys.exit(run_suppression(loaded))


@click.command()
def gate() -> None:
    """Answer POST /v1/check: may these addresses be contacted on this channel for this purpose?

    Reads suppression.<channel>.v1 into memory and answers from there; run as many as you like. While the list is
    loading, every answer is no; so is the answer for an address whose part of the list is older than
    CONSENT_RELAY_GATE_STALE_AFTER (of live decisions), _GATE_INBOUND_STALE_AFTER (of submissions by Kafka) or
    _GATE_BULK_STALE_AFTER seconds (of imports), or of which Kafka has lost records. Each answer has valid_until, after
    which it is not to be used.

    The keys that may ask are in CONSENT_RELAY_GATE_KEYS_FILE, which `consent-relay keys export --scope check` writes
    and which is read again when it changes.
    """
    import sys

    from consent_runtime import settings, starting
    from consent_runtime.api_keys import InvalidApiKeys
    from consent_runtime.provision import TopicMismatchError

    from .gate.run import run_gate
    from .gate.settings import GateSettings

    loaded = settings.load(GateSettings)
    starting.begin_logs(loaded)
    try:
        sys.exit(run_gate(loaded))
    except InvalidApiKeys as error:
        starting.refuse([f"CONSENT_RELAY_GATE_KEYS_FILE: {error}"])
    except TopicMismatchError as error:
        starting.refuse([str(error)])
