"""`consent-relay destinations forget`: tombstones for the delivered state of a destination that was removed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from propagator.settings import PropagatorSettings

READ_STALL_SECONDS = 30.0
WRITE_SECONDS = 60.0


class StoredRow(NamedTuple):
    """One record of the state topic that is no tombstone."""

    destination: str
    partition: int
    key: bytes


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def forget(name: str, yes: bool) -> None:
    """Delete what is stored about the destination NAME, after it was removed from the destinations file.

    The state of a removed destination is kept, so that it can come back without being sent everything again. This
    writes a tombstone for each of its rows in propagation.state.<propagator>.v1; receipts stay, as they are the proof.
    Nothing is changed at the tool itself: it keeps what it was sent.

    Uses the propagator's settings (CONSENT_RELAY_...), and refuses while the destinations file names NAME. Restart the
    propagators without it first: one that runs with an older file would write new rows.
    """
    from consent_service import acts, settings, startup
    from propagator.cli.declared import read_destinations
    from propagator.settings import PropagatorSettings

    loaded = settings.load(PropagatorSettings)
    path = loaded.propagator_destinations
    if any(each.name == name for each in read_destinations(path, loaded.channels, startup.keyring(loaded))):
        raise click.ClickException(f"{path} names destination {name}: remove it there, restart, then forget it")
    rows = _stored_rows(loaded)
    own = [row for row in rows if row.destination == name]
    topic = loaded.topics.propagation_state(loaded.propagator_name)
    if not own:
        counts = Counter(row.destination for row in rows)
        known = ", ".join(f"{each} ({count:,} rows)" for each, count in sorted(counts.items())) or "none"
        raise click.ClickException(f"{topic} has no row of destination {name}. Stored destinations: {known}")
    if not yes:
        click.confirm(f"Delete {len(own):,} rows of destination {name} from {topic}?", abort=True)
    acts.record("destination_forgotten", object_id=f"{name} in {topic}")
    _write_tombstones(loaded, topic, own)
    click.echo(f"{len(own):,} rows of destination {name} deleted from {topic}")


def _stored_rows(settings: PropagatorSettings) -> list[StoredRow]:
    """All rows of the state topic, up to its end as it is now."""
    from consent_kafka import clients
    from consent_kafka.provisioning import refuse_without_access
    from consent_state import (
        Position,
        RestoreFailedError,
        TableReader,
        TopicPartition,
        high_watermarks,
        low_watermarks,
        table_consumer,
        topic_ids,
    )
    from propagator.state.rows import parse_row_key

    topic = settings.topics.propagation_state(settings.propagator_name)
    partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
    # By partition too: a destination's own row has the same key in each.
    live: dict[tuple[int, bytes], StoredRow] = {}
    refuse_without_access(settings, "destinations-forget")
    admin = clients.admin(settings.kafka, settings.kafka_client)
    try:
        topic_id = topic_ids(admin, [topic])[topic]
        starts = {at: Position(topic_id, low) for at, low in low_watermarks(admin, partitions).items()}
        ends = high_watermarks(admin, partitions)
        group = settings.topics.group("destinations-forget")
        reader = TableReader(lambda: table_consumer(settings.kafka, group, settings.kafka_client), starts)
        try:
            deadline = time.monotonic() + READ_STALL_SECONDS
            while remaining := reader.remaining(ends):
                batches = reader.poll(0.5)
                if batches:
                    deadline = time.monotonic() + READ_STALL_SECONDS
                elif time.monotonic() > deadline:
                    where = ", ".join(f"{at} at {each.position} of {each.end}" for at, each in remaining.items())
                    raise click.ClickException(f"cannot read {topic} to its end (an open transaction?): {where}")
                for batch in batches:
                    for message in batch.messages:
                        partition, key = message.partition(), message.key() or b""
                        parsed = parse_row_key(key)
                        if message.value() is None or parsed is None:
                            live.pop((partition, key), None)
                        else:
                            live[partition, key] = StoredRow(parsed[0], partition, key)
        finally:
            reader.close()
    except RestoreFailedError as error:
        raise click.ClickException(f"CONSENT_RELAY_KAFKA {settings.kafka}: {error}") from None
    return list(live.values())


def _write_tombstones(settings: PropagatorSettings, topic: str, rows: Sequence[StoredRow]) -> None:
    """Returns once the broker has acknowledged each."""
    from consent_kafka import clients

    failures: Counter[str] = Counter()
    producer = clients.producer(settings.kafka, settings.kafka_client)
    for row in rows:
        while True:
            try:
                # The row's own partition: that of its address in the suppression topics, which the key alone
                # does not give.
                producer.produce(
                    topic,
                    key=row.key,
                    value=None,
                    partition=row.partition,
                    on_delivery=lambda error, _: failures.update([error.name()] if error else []),
                )
                break
            except BufferError:
                producer.poll(0.5)
        producer.poll(0)
    unsent = producer.flush(WRITE_SECONDS)
    if unsent or failures:
        why = ", ".join(f"{name} ({count})" for name, count in failures.items()) or "no acknowledgement"
        raise click.ClickException(f"not every row was deleted: {why}. Run the command again: it deletes the rest.")
