"""The commands of the list: `suppression` writes it, `gate` answers from it, `scrub` divides a file by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
def suppression() -> None:
    """Merge consent changes into the suppression topics, one entry per address.

    Reads consent.changes.v1 and consent.changes.bulk.v1, live changes first, and writes suppression.<channel>.v1 and
    suppression.resolved.v1. Run as many as there are partitions at most; each
    needs its own CONSENT_RELAY_INSTANCE_ID. Local state under CONSENT_RELAY_STATE_DIR is rebuilt when it is lost.
    """
    import sys

    from consent_kafka.provisioning import require_topics
    from consent_service import settings, startup
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
    sys.exit(run_suppression(loaded))


@click.command()
def gate() -> None:
    """Answer POST /v1/check: may these addresses be contacted on this channel for this purpose?

    Reads suppression.<channel>.v1 into memory and answers from there; run as many as you like. While the list is
    loading, every answer is no; so is the answer for an address whose part of the list is older than
    CONSENT_RELAY_GATE_STALE_AFTER (of live decisions), _GATE_INBOUND_STALE_AFTER (of submissions by Kafka) or
    _GATE_BULK_STALE_AFTER seconds (of imports), or of which Kafka has lost records. Each answer has valid_until, after
    which it is not to be used.

    The keys that may ask are in CONSENT_RELAY_GATE_KEYS_FILE, which `consent-relay keys export --scope check` writes
    and which is read again when it changes.
    """
    import sys

    from consent_http.errors import InvalidApiKeysError
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
    except TopicMismatchError as error:
        exit_with_errors([str(error)])


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
@click.option("--unknown", type=click.Choice(["deny", "allow"]), default="deny", help="Where nothing was decided.")
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
    from consent_service import settings
    from consent_service.exits import exit_with_errors
    from consent_service.terminal import shown
    from suppression.scrub.command import Wanted, run
    from suppression.scrub.errors import FileNotReadableError

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
        run(Wanted(**words), loaded)
    except ListNotReadyError as error:
        click.echo(f"Nothing was written: {error}.", err=True)
        sys.exit(75)
    except SuppressionListError as error:
        exit_with_errors([str(error)])
    except (FileNotReadableError, OSError) as error:
        raise click.ClickException(shown(f"{words['file']}: {error}")) from None
