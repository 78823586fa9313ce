"""`consent-relay lag`."""

from __future__ import annotations

import click


@click.command()
def lag() -> None:
    """Serve how far each consumer group is behind, in records and in seconds, as the broker sees it, how old the list
    is for its readers, and which open transactions hide records.

    A process of its own, so that it still speaks when a consumer hangs: consent_relay_consumer_lag_records and
    consent_relay_consumer_lag_seconds by group, topic and partition. Watches the groups whose names begin with
    CONSENT_RELAY_TOPIC_PREFIX.
    """
    import sys

    from consent_service import settings, startup
    from lag_exporter.app import run_lag
    from lag_exporter.settings import LagSettings

    loaded = settings.load(LagSettings)
    startup.begin_logs(loaded)
    sys.exit(run_lag(loaded))
