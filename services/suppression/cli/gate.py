"""`consent-relay gate`: the process that answers."""

from __future__ import annotations

import click


@click.command()
def gate() -> None:
    """Answer POST /v1/check: may these addresses be contacted on this channel for this purpose?

    Reads suppression.<channel>.v1 into memory and answers from there; run as many as you like. While the list is
    loading, every answer is no; so is the answer for an address whose part of the list is older than
    CONSENT_RELAY_GATE_STALE_AFTER (of live decisions), _GATE_INBOUND_STALE_AFTER (of submissions by Kafka) or
    _GATE_BULK_STALE_AFTER seconds (of imports), or of which Kafka has lost records. Each answer has valid_until, after
    which it is not to be used.

    The keys that may ask are in CONSENT_RELAY_GATE_KEYS_FILE, which `consent-relay keys export --scope check` writes
    and which is read again when it changes. With CONSENT_RELAY_OAUTH_ISSUER, access tokens of that issuer with the
    scope check may ask too.

    With CONSENT_RELAY_GATE_REGISTERS_FILE, which `consent-relay registers export` writes and which is read again when
    it changes, every answer for the channels and purposes of a register that is too old is no.
    """
    import sys

    from consent_client.errors import InvalidRegistersError
    from consent_http.errors import InvalidApiKeysError, InvalidJwksError
    from consent_kafka.errors import TopicMismatchError
    from consent_service import settings, startup
    from consent_service.exits import exit_with_errors
    from suppression.gate.run import run_gate
    from suppression.gate.settings import GateSettings

    loaded = settings.load(GateSettings)
    startup.begin_logs(loaded)
    try:
        sys.exit(run_gate(loaded))
    except InvalidApiKeysError as error:
        exit_with_errors([f"CONSENT_RELAY_GATE_KEYS_FILE: {error}"])
    except InvalidRegistersError as error:
        exit_with_errors([f"CONSENT_RELAY_GATE_REGISTERS_FILE: {error}"])
    except InvalidJwksError as error:
        exit_with_errors([f"CONSENT_RELAY_OAUTH_JWKS_FILE: {error}"])
    except TopicMismatchError as error:
        exit_with_errors([str(error)])
