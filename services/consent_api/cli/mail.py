"""`consent-relay mail`: reports that come by mail, from an MTA's pipe to the API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, NoReturn

import click

_TIMEOUT_SECONDS = 30.0
# sysexits.h, which an MTA knows: 75 keeps the mail in its queue, the others return it.
_REFUSED, _MISCONFIGURED, _TRY_AGAIN = 65, 78, 75


@click.group()
def mail() -> None:
    """Reports of complaints and of failed deliveries."""


@mail.command()
@click.argument("source", type=click.File("rb"))
@click.option("--url", required=True, help="Of the source: https://consent.example.com/v1/inbound/NAME")
@click.option(
    "--secret-file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its secret."
)
def read(source: BinaryIO, url: str, secret_file: Path) -> None:
    """Send one mail to the API: SOURCE is a file, or - for what an MTA pipes. An inbound source of the provider `mail`
    takes it (docs/inbound-webhooks.md).

    Exit codes are those of sysexits.h: 0 once it is recorded; 75, the mail is to be kept and tried again; 65, it is no
    report, or names no recipient; 78, the API refuses the signature or does not know the source.
    """
    import secrets
    import time
    import urllib.error
    import urllib.request

    from consent_api.inbound.providers.mail_reports import LONGEST
    from consent_api.inbound.providers.standard import sign

    if not url.startswith(("https://", "http://")):
        raise click.BadParameter("requires a URL of http or https", param_hint="--url")
    # The end of a longer mail is the message that is returned.
    body = source.read(LONGEST)
    timestamp, message_id = str(int(time.time())), f"mail_{secrets.token_hex(16)}"
    try:
        signature = sign(secret_file.read_text("utf-8").strip(), message_id, timestamp, body)
    except (ValueError, OSError) as error:
        _end(_MISCONFIGURED, f"{secret_file}: {error}")
    request = urllib.request.Request(  # noqa: S310 - http and https only, see above
        url,
        data=body,
        headers={
            "Content-Type": "message/rfc822",
            "Webhook-Id": message_id,
            "Webhook-Timestamp": timestamp,
            "Webhook-Signature": signature,
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read(2_048).decode("utf-8", "replace")
        code = {422: _REFUSED, 413: _REFUSED, 403: _MISCONFIGURED, 404: _MISCONFIGURED}.get(error.code, _TRY_AGAIN)
        _end(code, f"the API answered {error.code}: {reason}")
    except OSError as error:
        _end(_TRY_AGAIN, f"the API does not answer: {type(error).__name__}")


def _end(code: int, reason: str) -> NoReturn:
    click.echo(reason, err=True)
    sys.exit(code)
