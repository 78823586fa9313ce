"""`consent-relay scrub`: divides a file by the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_TARGET = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--channel", required=True, help="sms, email, voice or another configured channel.")
@click.option("--purpose", required=True, help="Such as promotions.")
@click.option("--column", help="Name of the column with the addresses, or its number from 1. Left out: found out.")
@click.option("--no-header", "header", flag_value=False, default=True, help="The first line is a person's.")
@click.option("--encoding", help="Of the addresses, if neither UTF-8 nor UTF-16 with a byte order mark: cp1252.")
@click.option("--delimiter", type=click.Choice([",", ";", "tab", "|"]), help="Left out: that of the first line.")
@click.option("--allowed", type=_TARGET, help="The file of those who may be contacted. [FILE.allowed.csv]")
@click.option("--removed", type=_TARGET, help="The file of the others. [FILE.removed.csv]")
@click.option("--replace", is_flag=True, help="Remove the results of an earlier run first.")
@click.option("--tenant", help="Left out: the only one of the key file.")
@click.option(
    "--registers",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="What `consent-relay registers export` wrote: nothing is divided for a purpose whose register is too old.",
)
@click.option(
    "--unknown",
    type=click.Choice(["deny", "allow"]),
    default="deny",
    show_default=True,
    help="What becomes of addresses of which no decision is known.",
)
@click.option(
    "--wait", "wait_seconds", default=120.0, help="Seconds until the list has to be of now.", show_default=True
)
def scrub(**words: Any) -> None:
    """Divide the CSV file of a campaign: who may be contacted for the purpose now, and who may not.

    Writes two files beside FILE, with every line and column unchanged, byte for byte: campaign.allowed.csv, and
    campaign.removed.csv with one more column, the reason. An address that cannot be read is removed. Both appear when
    both are complete, and neither otherwise.

    Reads the list from Kafka: needs CONSENT_RELAY_KAFKA, _REGISTRY, and _KEYRING_FILE (an export with --hash-only will
    do), and _TOPIC_PREFIX, _CHANNELS and _DEFAULT_REGION where the installation has them.

    \b
    Exit codes: 0  both files are there
                1  the file cannot be divided, or the results cannot be written
                2  a word or a setting is wrong, or a server refuses us
               75  the list is not ready, or became too old: nothing was written, try again later
    """
    import logging
    import signal
    import sys

    from consent_client import ListNotReadyError, SuppressionListError
    from consent_contracts.records import PURPOSE
    from consent_privacy.errors import FileNotReadableError
    from consent_service import settings
    from consent_service.exits import exit_with_errors
    from consent_service.terminal import shown
    from suppression.scrub.run import ScrubRequest, run

    loaded = settings.load(settings.KeyringSettings)
    # librdkafka has a line for each of its tries; the last line of the command names the cause.
    logging.getLogger().addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # What is half written is removed.
    if words["channel"] not in loaded.channels:
        raise click.UsageError(f"there is no channel {words['channel']} here: name one of {', '.join(loaded.channels)}")
    if not PURPOSE.fullmatch(words["purpose"]):
        raise click.UsageError("a purpose is a word of a-z, 0-9, _ and -, such as promotions")
    if words["delimiter"] == "tab":
        words["delimiter"] = "\t"
    try:
        run(ScrubRequest(**words), loaded)
    except ListNotReadyError as error:
        click.echo(f"Nothing was written: {error}.", err=True)
        sys.exit(75)
    except SuppressionListError as error:
        exit_with_errors([str(error)])
    except (FileNotReadableError, OSError) as error:
        raise click.ClickException(shown(f"{words['file']}: {error}")) from None
