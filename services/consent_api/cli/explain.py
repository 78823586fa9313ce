"""`consent-relay explain`."""

from __future__ import annotations

import sys

import click

from consent_api.cli.database_errors import ledger_errors
from consent_api.cli.tenants import chosen_tenant
from consent_service.terminal import shown


@click.command()
@click.option("--channel", required=True, help="sms, email, voice or another configured channel.")
@click.option("--purpose", required=True, help="A purpose, or * for those without a decision of their own.")
@click.option("--tenant", help="Where the keyring has several.")
@click.option("--language", type=click.Choice(["en", "fr"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As POST /v1/explain answers it.")
def explain(channel: str, purpose: str, tenant: str | None, language: str, as_json: bool) -> None:
    """Why an address may, or may not, be contacted: six sentences from the ledger, for the person who asks.

    The address is asked for, or read from standard input: as an argument it would show in the list of processes.

    Requires CONSENT_RELAY_API_DATABASE and CONSENT_RELAY_KEYRING_FILE.
    """
    import msgspec

    from consent_api.domain.validation import ValidationRules, named_address
    from consent_api.errors import SubmissionInvalidError
    from consent_api.http.explain_text import explain_text
    from consent_api.http.rendering import to_explanation
    from consent_api.ledger import queries
    from consent_api.ledger.database import connect, refuse_denied, transact
    from consent_api.settings import DatabaseSettings
    from consent_contracts.decisions import EVERY_PURPOSE
    from consent_contracts.records import PURPOSE
    from consent_http.words import Language
    from consent_service import startup
    from consent_service.settings import load

    settings = load(DatabaseSettings)
    keyring = startup.keyring(settings)
    tenant = chosen_tenant(tenant, keyring.tenants)
    if purpose != EVERY_PURPOSE and not PURPOSE.fullmatch(purpose):
        raise click.BadParameter("a slug of a-z, 0-9, _ and -, or *", param_hint="--purpose")
    address = click.prompt("address", err=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    rules = ValidationRules(channels=settings.channels, default_region=settings.default_region)
    try:
        named = (tenant, channel, named_address(channel, address, rules))
    except SubmissionInvalidError as error:
        raise click.ClickException(str(error)) from None
    engine = connect(settings.database, pool_size=1, application="consent-relay explain")
    refuse_denied(engine)
    try:
        with ledger_errors():
            found = transact(engine, lambda c: queries.explain(c, keyring, named=named, purpose=purpose))
    finally:
        engine.dispose()
    explanation = to_explanation(channel, purpose, found)
    chosen: Language = "fr" if language == "fr" else "en"
    text = msgspec.json.encode(explanation).decode() if as_json else explain_text(explanation, chosen).rstrip()
    # References and evidence are texts of others.
    click.echo("\n".join(shown(line) for line in text.split("\n")))
