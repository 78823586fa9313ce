"""Readers without our code deny where the ledger no longer reaches the list (R24, R63)."""

from pathlib import Path
from typing import Any

import pytest

from consent_contracts.partitioner import partition_of
from consent_contracts.topics import Topics
from consent_service.clock import now_micros
from tests.integration.gate.entries import Entries, decision
from tests.support.list_resolved import PARTITIONS, ResolvedWriter
from tests.support.shown_readers import run_node_reader, run_python_reader

HOUR = 3_600_000_000


def lost(**fields: Any) -> dict[str, Any]:
    return {"resolved_at": None, "bulk_resolved_at": None, **fields}


@pytest.mark.parametrize(
    ("wrong", "answers"),
    [
        (
            {
                0: lambda topic: {"resolved_at": now_micros() - HOUR},
                1: lambda topic: lost(hole="h1"),
                2: lambda topic: {"lists": [{"topic": topic, "topic_id": "A" * 22, "end_offset": 0}]},
            },
            ["False", "False", "False", "True"],
        ),
        (
            {
                0: lambda topic: {"channel_holes": {"sms": "h2"}},
                1: lambda topic: {"inbound_resolved_at": now_micros() - HOUR},
                2: lambda topic: {"bulk_resolved_at": now_micros() - HOUR},
                3: lambda topic: {"channel_holes": {"email": "h3"}},
            },
            ["False", "False", "False", "True"],
        ),
        (
            {
                0: lambda topic: {"resolved_at": now_micros() + HOUR},
                1: lambda topic: {"bulk_resolved_at": None},
                2: lambda topic: {"lists": [{"topic": topic, "topic_id": "", "end_offset": 10**6}]},
                3: lambda topic: {"inbound_resolved_at": now_micros()},
            },
            ["False", "False", "False", "True"],
        ),
    ],
)
def test_the_readme_s_reader_denies_in_the_partitions_that_are_old_or_holed(
    kafka: str,
    registry_url: str,
    topics: Topics,
    entries: Entries,
    resolving: ResolvedWriter,
    tmp_path: Path,
    wrong: dict[int, Any],
    answers: list[str],
) -> None:  # R63
    topic = topics.suppression("sms")
    resolving.fields = {partition: fields(topic) for partition, fields in wrong.items()}
    keys: dict[int, str] = {}
    for number in range(40):
        key = entries.write("sms", f"+33639980{number:03}", decision())
        keys.setdefault(partition_of(key.encode(), PARTITIONS), key)
    found = run_python_reader(tmp_path, kafka=kafka, registry=registry_url, topic=topic, purpose="newsletter")
    assert [found[keys[partition]] for partition in range(PARTITIONS)] == answers


def test_the_reader_in_node_does_so_too(
    kafka: str, registry_url: str, topics: Topics, entries: Entries, resolving: ResolvedWriter, node_directory: Path
) -> None:  # R24 R63
    topic = topics.suppression("sms")
    resolving.fields = {
        0: {"channel_holes": {"sms": "h2"}},
        1: {"resolved_at": now_micros() - HOUR},
        2: {"bulk_resolved_at": now_micros() - HOUR},
    }
    keys: dict[int, str] = {}
    for number in range(40):
        key = entries.write("sms", f"+33639980{number:03}", decision())
        keys.setdefault(partition_of(key.encode(), PARTITIONS), key)
    refused = entries.write("sms", "+33639981000", decision(status="withdrawn"))
    found = run_node_reader(node_directory, kafka=kafka, registry=registry_url, topic=topic, purpose="newsletter")
    assert [found[keys[partition]] for partition in range(PARTITIONS)] == ["false", "false", "false", "true"]
    assert found[refused] == "false"
