"""`consent-relay status`."""

from __future__ import annotations

import click


@click.command()
def status() -> None:
    """Serve the status page at /status: the path of an event as it is now, each stage with rate, latency and lag over
    the last 15 minutes, each destination, and the last dead letters and errors in words.

    A process of its own, without Kafka and database: it reads the metrics of the processes that
    CONSENT_RELAY_STATUS_TARGETS lists, so that it shows which of them do not answer. For people with an API key that
    has the scope operate; the keys are in CONSENT_RELAY_STATUS_KEYS_FILE, which
    `consent-relay keys export --scope operate` writes and which is read again when it changes.
    """
    import sys

    from consent_http.errors import InvalidApiKeysError
    from consent_service import settings, startup
    from consent_service.exits import exit_with_errors
    from status_page.app import run_status
    from status_page.settings import StatusSettings

    loaded = settings.load(StatusSettings)
    startup.begin_logs(loaded)
    try:
        sys.exit(run_status(loaded))
    except InvalidApiKeysError as error:
        exit_with_errors([f"CONSENT_RELAY_STATUS_KEYS_FILE: {error}"])
