"""`consent-relay api`."""

from __future__ import annotations

import sys

import click


@click.command()
def api() -> None:
    """Serve the HTTP API: decisions in, state and explanations out.

    Listens on CONSENT_RELAY_API_HOST:CONSENT_RELAY_API_PORT; the description of every path is at /docs and
    /openapi.json. Requires CONSENT_RELAY_API_DATABASE, CONSENT_RELAY_KEYRING_FILE and CONSENT_RELAY_REGISTRY.
    """
    from consent_api.errors import MisconfiguredError
    from consent_api.http import app
    from consent_api.settings import ApiSettings
    from consent_service.exits import exit_with_errors
    from consent_service.settings import load

    try:
        sys.exit(app.serve(load(ApiSettings)))
    except MisconfiguredError as error:
        exit_with_errors([str(error)])
