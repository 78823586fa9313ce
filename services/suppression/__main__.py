"""The commands of the list: `suppression` writes it, `gate` answers from it."""

from __future__ import annotations

import click


@click.command()
def suppression() -> None:
    """Merge consent changes into the suppression topics, one entry per address.

    Reads consent.changes.v1 and writes suppression.<channel>.v1. Run as many as there are partitions at most; each
    needs its own CONSENT_RELAY_INSTANCE_ID. Local state under CONSENT_RELAY_STATE_DIR is rebuilt when it is lost.
    """
    import sys

    from consent_runtime import logs, settings
    from consent_runtime.provision import require_topics

    from .app import run_suppression
    from .settings import SuppressionSettings

    loaded = settings.load(SuppressionSettings)
    logs.configure(loaded.log_level, loaded.service)
    topics = loaded.topics
    require_topics(
        loaded,
        [topics.changes, topics.dead_letters("suppression"), *map(topics.suppression, topics.channels)],
    )
    sys.exit(run_suppression(loaded))
