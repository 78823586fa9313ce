"""A stranger who may register schemas and produce records stops no delivery, on real Kafka. # R10 # R16"""

from __future__ import annotations

import pytest

from consent_contracts.records import entry_to_avro
from consent_service.clock import now_micros
from propagator.state import reader, unknown_schemas
from tests.integration.propagator.state_rig import StateRig
from tests.support.poisoned_records import YEAR_11476, poisoned
from tests.support.waiting import until_async


async def test_no_schema_and_no_record_stops_the_deliveries_behind_it(
    state_rig: StateRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(unknown_schemas, "WAIT_MICROS", 3_000_000)
    process = state_rig.process()
    await process.activate()
    key = state_rig.decide(1)
    some = entry_to_avro(state_rig.entries[key], now_micros())
    entries = poisoned(state_rig.registry, state_rig.list_topic, "SuppressionEntry", some, "written_at")
    entries.append(state_rig.codec.encode(state_rig.list_topic, {**some, "written_at": YEAR_11476}))
    row = {
        "destination": "crm",
        "tenant": "acme",
        "address_key": key,
        "targets": [],
        "fill": None,
        "written_at": now_micros(),
    }
    rows = poisoned(state_rig.registry, state_rig.state_topic, "PropagationState", row, "written_at")
    for number, value in enumerate(entries):
        state_rig.write(state_rig.key(100 + number), value)
        state_rig.write(f"stranger-{number}", value)
        state_rig.decide(10 + number)
    for number, value in enumerate(rows):
        other = state_rig.key(200 + number)
        state_rig.producer.produce(
            state_rig.state_topic, value, f"crm/{other}".encode(), partition=state_rig.partition(other)
        )
    state_rig.flush()
    good = {(state_rig.key(each), "newsletter") for each in (1, *range(10, 10 + len(entries)))}
    await until_async(lambda: good <= process.held().keys(), what="the others are delivered")
    topic = state_rig.topics.dead_letters("propagator")
    await until_async(lambda: len(state_rig.read(topic)) == 2 * len(entries), seconds=60, what="dead letters")
    letters = [state_rig.codec.decode(topic, value) for _, value in state_rig.read(topic)]
    assert {each["reason"] for each in letters} == {"unknown_schema", "wrong_schema", "invalid_record"}
    await until_async(lambda: process.pending() == 0, what="nothing waits")
    await until_async(lambda: process.health.readiness()[0], what="ready again")
    assert {key for key, _ in process.held()} == {key for key, _ in good}
