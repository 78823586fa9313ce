"""`consent-relay links`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from consent_api.cli.tenants import chosen_tenant


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--channel", help="Of all lines; left out: the column channel.")
@click.option(
    "--purpose", help="What one click withdraws, of all lines; left out: the column purpose, if there is one."
)
@click.option("--tenant", help="Where the keyring has several.")
@click.option("--replace", is_flag=True, help="Replace TARGET.")
def links(
    source: Path, target: Path, channel: str | None, purpose: str | None, tenant: str | None, replace: bool
) -> None:
    """Make the links of a file of addresses: SOURCE is CSV in UTF-8 with a column address; TARGET has its columns and
    unsubscribe, list_unsubscribe, list_unsubscribe_post, preferences and error.

    A column subject_ref makes a person's preferences those of all their addresses. The links are the same each time.

    Requires CONSENT_RELAY_KEYRING_FILE and CONSENT_RELAY_PUBLIC_URL, and CONSENT_RELAY_THEME_FILE for preferences; no
    database. Lines with an error have no links; the exit code is then 1. TARGET speaks for all these people: keep it as
    you keep the addresses.
    """
    from consent_api.cli import wrong_entries
    from consent_api.domain.validation import ValidationRules
    from consent_api.errors import AddressFileError, NoLinkKeysError
    from consent_api.links.csv_links import write_links
    from consent_api.links.making import LinkMaker
    from consent_api.links.token import Links
    from consent_api.settings import PublicLinkSettings
    from consent_service import startup
    from consent_service.settings import load

    settings = load(PublicLinkSettings)
    keyring = startup.keyring(settings)
    tenant = chosen_tenant(tenant, keyring.tenants)
    if settings.public_url is None:
        raise click.ClickException("CONSENT_RELAY_PUBLIC_URL is not set: under which URL do people reach the API?")
    if target.exists() and not replace:
        raise click.ClickException(f"{target} exists: name another file, or --replace")
    rules = ValidationRules(channels=settings.channels, default_region=settings.default_region)
    themes = settings.themes(keyring.tenants, on_wrong=wrong_entries.warn)
    maker = LinkMaker(Links(lambda: keyring), themes, rules, public_url=settings.public_url)
    try:
        counts = write_links(maker, tenant, source, target, channel=channel, purpose=purpose, report=_report)
    except AddressFileError as error:
        raise click.ClickException(f"{source}: {error}") from None
    except NoLinkKeysError:
        raise click.ClickException(
            f"the keyring has no link keys for {tenant}: consent-relay keyring rotate FILE --tenant {tenant} --links"
        ) from None
    except OSError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"wrote {target}: {counts.made} lines with links, {counts.refused} with an error")
    sys.exit(1 if counts.refused else 0)


def _report(lines: int) -> None:
    click.echo(f"{lines} lines", err=True)
