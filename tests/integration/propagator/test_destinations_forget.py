"""`destinations forget`: what is stored of a destination that no file names any more is deleted, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consent_contracts.topics import Topics
from consent_kafka import clients
from propagator.cli.destinations import destinations
from propagator.state.rows import row_key
from tests.support.one_destination import declare
from tests.support.topic_records import records

Forget = Callable[..., Result]


@pytest.fixture
def forget(kafka: str, topics: Topics, keyring_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forget:
    for name, value in {
        "KAFKA": kafka,
        "TOPIC_PREFIX": topics.prefix,
        "KEYRING_FILE": str(keyring_file),
        "PROPAGATOR_DESTINATIONS": str(declare(tmp_path, monkeypatch)),
    }.items():
        monkeypatch.setenv(f"CONSENT_RELAY_{name}", value)
    return lambda *arguments, **options: CliRunner().invoke(destinations, ["forget", *arguments], **options)


def write(kafka: str, topic: str, rows: list[tuple[int, bytes, bytes | None]]) -> None:
    """In one transaction, as the propagator writes them."""
    producer = clients.transactional_producer(kafka, f"{topic}-test")
    producer.init_transactions()
    producer.begin_transaction()
    for partition, key, value in rows:
        producer.produce(topic, key=key, value=value, partition=partition)
    producer.commit_transaction()


def stored(kafka: str, topic: str) -> dict[tuple[int, bytes], Any]:
    last = {(each.partition(), each.key()): each.value() for each in records(kafka, topic)}
    return {place: value for place, value in last.items() if value is not None}


OLD = [(partition, row_key("old", ""), b"fill") for partition in range(4)]
ROWS = [(number % 4, row_key("old", f"h1.{number}"), b"row") for number in range(6)]
OTHERS = [(0, row_key("crm", "h1.1"), b"row"), (1, row_key("older", "h1.2"), b"row")]


def test_every_row_of_a_removed_destination_is_tombstoned_in_its_own_partition(
    kafka: str, topics: Topics, forget: Forget
) -> None:
    topic = topics.propagation_state("default")
    write(kafka, topic, [*OLD, *ROWS, *OTHERS, (2, row_key("old", "h1.9"), b"row")])
    write(kafka, topic, [(2, row_key("old", "h1.9"), None)])
    result = forget("old", "--yes")
    assert result.exit_code == 0, result.output
    assert f"10 rows of destination old deleted from {topic}" in result.output
    assert stored(kafka, topic) == {(partition, key): value for partition, key, value in OTHERS}


def test_a_destination_that_the_file_names_is_not_forgotten(kafka: str, topics: Topics, forget: Forget) -> None:
    topic = topics.propagation_state("default")
    write(kafka, topic, OTHERS)
    result = forget("crm", "--yes")
    assert result.exit_code == 1
    assert "names destination crm: remove it there" in result.output
    assert len(stored(kafka, topic)) == len(OTHERS)


def test_without_confirmation_nothing_is_deleted(kafka: str, topics: Topics, forget: Forget) -> None:
    topic = topics.propagation_state("default")
    write(kafka, topic, ROWS)
    result = forget("old", input="n\n")
    assert result.exit_code == 1
    assert "Delete 6 rows of destination old" in result.output
    assert len(stored(kafka, topic)) == 6
    assert forget("old", input="y\n").exit_code == 0
    assert stored(kafka, topic) == {}


def test_a_name_without_rows_is_refused_with_the_names_that_have_some(
    kafka: str, topics: Topics, forget: Forget
) -> None:
    write(kafka, topics.propagation_state("default"), OTHERS)
    result = forget("odl", "--yes")
    assert result.exit_code == 1
    assert "has no row of destination odl. Stored destinations: crm (1 rows), older (1 rows)" in result.output


def test_a_broker_that_does_not_answer_is_named(forget: Forget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", "127.0.0.1:9")
    result = forget("old", "--yes")
    assert result.exit_code == 1
    assert "CONSENT_RELAY_KAFKA 127.0.0.1:9" in result.output
