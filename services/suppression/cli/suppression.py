"""`consent-relay suppression`: the process that merges."""

from __future__ import annotations

import click


@click.command()
def suppression() -> None:
    """Merge consent changes into the suppression topics, one entry per address.

    Reads consent.changes.v1 and consent.changes.bulk.v1, live changes first, and writes suppression.<channel>.v1 and
    suppression.resolved.v1. Run as many as there are partitions at most; each
    needs its own CONSENT_RELAY_INSTANCE_ID. Local state under CONSENT_RELAY_STATE_DIR is rebuilt when it is lost.
    """
    from consent_kafka.provisioning import require_topics
    from consent_service import exits, settings, startup
    from suppression.app import run_suppression
    from suppression.settings import SuppressionSettings

    loaded = settings.load(SuppressionSettings)
    startup.begin_logs(loaded)
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
    exits.end(run_suppression(loaded))
