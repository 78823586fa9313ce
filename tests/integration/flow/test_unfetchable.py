"""Batches that no client can unpack: a dead letter by their coordinates, then what follows is read. # R16"""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from consent_kafka import batches
from tests.integration.flow.rig import Rig, refusal
from tests.integration.flow.test_ingest import decisions, letters, outcome
from tests.support.unpacking_bombs import send_bomb, send_split
from tests.support.waiting import until


def _submit(rig: Rig, partition: int) -> None:
    producer = Producer({"bootstrap.servers": rig.kafka})
    for value in rig.encoded([refusal()]):
        producer.produce(rig.topics.inbound, value, partition=partition)
    assert producer.flush(20) == 0


def test_ingest_passes_over_a_batch_that_unpacks_to_too_much(rig: Rig) -> None:
    _submit(rig, 1)
    offset = send_bomb(rig.kafka, rig.topics.inbound, 1)
    _submit(rig, 1)
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == 2)
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        until(lambda: rig.committed() == 3)
        until(lambda: ingest.health.readiness() == (True, []))
    assert decisions(rig) == 2
    [(place, letter)] = letters(rig)
    assert place == f"{rig.topics.inbound}:1:{offset}".encode()
    assert letter["reason"] == "unfetchable"
    assert f"offsets {offset} to {offset} (" in str(letter["error"])


def test_ingest_puts_aside_a_record_that_is_larger_than_any_of_ours(rig: Rig) -> None:
    """gzip is unpacked whatever it comes to; the record is not copied."""
    _submit(rig, 1)
    offset = send_bomb(rig.kafka, rig.topics.inbound, 1, codec="gzip")
    _submit(rig, 1)
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == 2)
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
    [(place, letter)] = letters(rig)
    assert place == f"{rig.topics.inbound}:1:{offset}".encode()
    assert letter["reason"] == "unfetchable"


def test_ingest_passes_over_a_batch_of_which_the_client_waits_for_the_rest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client says nothing of it, and would ask for it again for ever."""
    monkeypatch.setattr(batches, "SILENT_SECONDS", 1.0)
    _submit(rig, 1)
    offset = send_split(rig.kafka, rig.topics.inbound, 1)
    _submit(rig, 1)
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == 2)
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        until(lambda: ingest.health.readiness() == (True, []))
    assert decisions(rig) == 2
    [(place, letter)] = letters(rig)
    assert place == f"{rig.topics.inbound}:1:{offset + 1}".encode()
    assert f"offsets {offset} to {offset + 1} (" in str(letter["error"])


def test_it_passes_over_such_a_batch_also_where_it_begins_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SILENT_SECONDS", 1.0)
    _submit(rig, 1)
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == 1)
        until(lambda: rig.committed() == 1)
    send_split(rig.kafka, rig.topics.inbound, 1)
    _submit(rig, 1)
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        until(lambda: outcome(rig, ingest, "recorded") >= 1)
    assert decisions(rig) == 2
