"""`consent-relay dead-letters list|replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from consent_api.operations.dead_letters.reader import DeadLetter, DeadLetterReader
    from consent_contracts.codec import Codec
    from consent_privacy.keyring import Keyring
    from consent_service.settings import KeyringSettings

SERVICES = ("consent-api", "suppression", "propagator")
_NOTHING = "nothing to replay: see dead-letters list --all"


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at records that could not be read or broke a rule, and replay them once the cause is gone.

    Requires CONSENT_RELAY_KAFKA, CONSENT_RELAY_REGISTRY and CONSENT_RELAY_KEYRING_FILE.
    """


@dead_letters.command("list")
@click.option("--service", type=click.Choice(SERVICES), help="Only what this service rejected.")
@click.option("--reason", help="Only with this reason code, such as invalid or unknown_schema.")
@click.option("--all", "replayed", is_flag=True, help="Also those that were replayed already.")
@click.option("--show", is_flag=True, help="Open the seal and print each record: it may hold a clear address.")
def list_letters(service: str | None, reason: str | None, replayed: bool, show: bool) -> None:
    """One line a record: where it was, which service rejected it, when, why, and what was wrong."""
    from consent_api.cli import acts
    from consent_api.errors import KafkaUnavailableError
    from consent_api.operations.dead_letters.reader import Filter
    from consent_api.rights.audit import Act
    from consent_contracts.cloudevents import rfc3339
    from consent_service.terminal import shown

    _, keyring, codec, reader = open_reader()
    if show:
        acts.record(Act.DEAD_LETTERS_SHOWN, object_id=_selected(service, reason))
    number = 0
    try:
        for letter in reader.letters(Filter(service=service, reason=reason, replayed=replayed)):
            number += 1
            state = "not replayed" if letter.replayed_at is None else f"replayed {letter.replayed_at}"
            columns = (
                letter.coordinates,
                letter.service,
                rfc3339(letter.failed_at),
                letter.reason,
                state,
                letter.error,
            )
            click.echo("\t".join(map(shown, columns)))
            if show:
                click.echo(f"    {shown(_content(letter, keyring, codec))}")
    except KafkaUnavailableError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{number} dead letters", err=True)


@dead_letters.command("replay")
@click.argument("places", nargs=-1, metavar="[TOPIC:PARTITION:OFFSET]...")
@click.option("--every", is_flag=True, help="All that the other options select, instead of naming places.")
@click.option("--service", type=click.Choice(SERVICES), help="Only what this service rejected.")
@click.option("--reason", help="Only with this reason code.")
@click.option("--again", is_flag=True, help="Also those that were replayed already; places have to be named.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(
    places: tuple[str, ...], every: bool, service: str | None, reason: str | None, again: bool, yes: bool
) -> None:
    """Send records back to their topics: key, value, headers and partition as they were.

    A record goes back once: it is marked in the same transaction. Repair the cause first, or it will only come
    back as a new dead letter.
    """
    from consent_api.cli import acts
    from consent_api.errors import KafkaUnavailableError, NotReplayedError
    from consent_api.operations.dead_letters.reader import Filter
    from consent_api.operations.dead_letters.replayer import PRODUCER, TRANSACTIONAL_ID, Replayer
    from consent_api.rights.audit import Act
    from consent_kafka import clients
    from consent_service.terminal import shown

    if bool(places) == every:
        raise click.UsageError("name the records (the first column of: dead-letters list), or use --every")
    if again and not places:
        raise click.UsageError("--again requires the records to be named: what goes back twice goes back on purpose")
    settings, keyring, _, reader = open_reader("dead-letters-replay")
    wanted = Filter(service=service, reason=reason, coordinates=frozenset(places), replayed=again)
    try:
        if not yes:
            found = sum(1 for _ in reader.letters(wanted))
            if not found:
                raise click.ClickException(_NOTHING)
            click.confirm(f"Replay {found} records?", abort=True)
        acts.record(
            Act.DEAD_LETTERS_REPLAYED, object_id=f"{len(places)} named" if places else _selected(service, reason)
        )
        # Made before the letters are read: from here on no other replay can mark one of them.
        replayer = Replayer(
            producer=clients.transactional_producer(
                settings.kafka, settings.topics.group(TRANSACTIONAL_ID), settings.kafka_client, **PRODUCER
            ),
            keyring=keyring,
            topics=settings.topics,
        )
        done = kept = 0
        for outcome in replayer.replay(reader.letters(wanted)):
            if outcome.obstacle is None:
                done += 1
            else:
                kept += 1
                click.echo(f"{shown(outcome.letter.coordinates)}\t{shown(outcome.obstacle)}", err=True)
    except KafkaUnavailableError as error:
        raise click.ClickException(str(error)) from None
    except NotReplayedError as error:
        raise click.ClickException(f"{error}; what was replayed is marked, the same command does the rest") from None
    if places and not done and not kept:
        raise click.ClickException(_NOTHING)
    click.echo(f"{done} replayed, {kept} kept")
    if kept:
        raise SystemExit(1)


def _selected(service: str | None, reason: str | None) -> str:
    return f"of {service or 'every service'}, {f'reason {reason}' if reason else 'any reason'}"


def open_reader(process: str = "dead-letters") -> tuple[KeyringSettings, Keyring, Codec, DeadLetterReader]:
    from consent_api.operations.dead_letters.reader import DeadLetterReader
    from consent_kafka import clients
    from consent_kafka.provisioning import refuse_without_access
    from consent_kafka.registry import connect_codec
    from consent_service import startup
    from consent_service.settings import KeyringSettings, load

    settings = load(KeyringSettings)
    keyring = startup.keyring(settings)
    codec = connect_codec(settings, wait_seconds=10)
    refuse_without_access(settings, process)
    reader = DeadLetterReader(
        # Assigned by hand: the group's name is never used, and nothing is ever committed.
        connect=lambda: clients.consumer(
            settings.kafka,
            settings.topics.group("dead-letters-reader"),
            settings.kafka_client,
            enable_partition_eof=True,
        ),
        codec=codec,
        topics=settings.topics,
    )
    return settings, keyring, codec, reader


def _content(letter: DeadLetter, keyring: Keyring, codec: Codec) -> str:
    """The record as JSON: its value decoded when it is readable, in base64 when it is not."""
    import json
    from base64 import b64encode

    from consent_api.operations.dead_letters.replayer import unseal
    from consent_contracts.errors import ContractError
    from consent_privacy.errors import DecryptionFailedError

    def plain(data: Any) -> str:
        return data.decode("ascii") if data.isascii() else f"base64:{b64encode(data).decode()}"

    try:
        record = unseal(letter, keyring)
    except DecryptionFailedError as error:
        return f"({error})"
    value: Any = None
    if record.value is not None:
        try:
            value = codec.decode(letter.topic, record.value)
        except (ContractError, ValueError):
            value = plain(record.value)
    headers = [[name, None if each is None else plain(each)] for name, each in record.headers]
    key = None if record.key is None else plain(record.key)
    return json.dumps(
        {"key": key, "headers": headers, "timestamp": record.timestamp, "value": value},
        ensure_ascii=False,
        default=plain,
    )
