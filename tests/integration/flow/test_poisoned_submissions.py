"""A stranger who may register schemas and produce records stops no other submission, on real servers. # R10 # R16"""

from __future__ import annotations

import json
import time
from contextlib import closing
from io import BytesIO

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from consent_contracts import schemas
from tests.integration.flow.rig import Rig, refusal
from tests.support import odd_headers
from tests.support.poisoned_records import YEAR_11476, poisoned
from tests.support.waiting import until


def test_no_schema_and_no_record_stops_the_submissions_behind_it(rig: Rig) -> None:
    poison = poisoned(rig.registry, rig.topics.inbound, "ConsentSubmitted", refusal(), "occurred_at")
    good = [refusal() for _ in range(8)]
    for value in poison:
        rig.submit([value, *rig.encoded([good.pop()])])
    with rig.ingest() as ingest:
        until(
            lambda: (
                ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.inbound, outcome="recorded")
                == len(poison)
            ),
            seconds=60,
        )
        # They are written after the decisions of their batch.
        until(lambda: len(rig.records(rig.topics.dead_letters("consent-api"))) >= len(poison), seconds=60)
        until(lambda: ingest.health.readiness() == (True, []))
    topic, codec = rig.topics.dead_letters("consent-api"), rig.codec()
    letters = [codec.decode(topic, each.value()) for each in rig.records(topic)]
    assert {each["reason"] for each in letters} == {"unknown_schema", "wrong_schema"}
    assert len(letters) == len(poison)
    assert all("schema id " in each["error"] and "register" in each["error"] for each in letters)


def test_a_header_that_no_client_can_read_stops_no_submission(rig: Rig) -> None:
    values = rig.encoded([refusal() for _ in range(20)])  # So many that the interpreter specialises its calls.
    for value in values:
        assert value is not None
        odd_headers.produce(rig.kafka, rig.topics.inbound, 0, b"k", value)
    rig.submit(rig.encoded([refusal()]))
    with rig.ingest():
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 21, seconds=60, what="all are recorded")


def test_no_receipt_stops_those_behind_it(rig: Rig) -> None:
    codec = rig.codec()
    receipt = {
        **dict.fromkeys(("receipt_id", "tenant", "destination", "channel", "address_key", "target"), "x"),
        **dict.fromkeys(("version", "recorded_at", "queued_at", "reached_at", "attempts"), 1),
        "action": "suppress",
        "stage": "accepted",
        "decision_ids": [],
        "provider_reference": None,
        "detail": None,
    }
    poison = poisoned(rig.registry, rig.topics.receipts, "PropagationReceipt", receipt, "reached_at")
    poison.append(codec.encode(rig.topics.receipts, {**receipt, "recorded_at": YEAR_11476}))
    rig.submit([*poison, codec.encode(rig.topics.receipts, receipt)], topic=rig.topics.receipts)
    with rig.ingest():
        until(lambda: rig.ask("SELECT count(*) FROM receipts") == 1, seconds=60)
        until(lambda: len(rig.records(rig.topics.dead_letters("consent-api"))) == len(poison), seconds=60)


@pytest.mark.parametrize(
    ("kind", "factor"),
    [
        ("timestamp-millis", 1_000),
        ("timestamp-micros", 1),
        ("local-timestamp-millis", 1_000),
        ("local-timestamp-micros", 1),
    ],
)
def test_a_time_of_a_schema_that_the_registry_accepts_is_recorded_as_it_was_meant(  # R16
    rig: Rig, kind: str, factor: int
) -> None:
    schema = schemas.current_schema("ConsentSubmitted")
    for field in schema["fields"]:
        if field["name"] in ("occurred_at", "expires_at"):
            field["type"] = ["null", {"type": "long", "logicalType": kind}]
        if field["name"] == "event_id":
            field["type"] = {"type": "string", "logicalType": "uuid"}
    moment = (time.time_ns() // 1_000_000 - 3_600_000) * 1_000
    datum = refusal(occurred_at=moment // factor)
    with closing(SchemaRegistryClient({"url": rig.registry})) as registry:
        schema_id = registry.register_schema(f"{rig.topics.inbound}-value", Schema(json.dumps(schema), "AVRO"))
    out = BytesIO()
    plain = schemas.without_annotations(schema)
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain, named_schemas={}), datum)
    rig.submit([b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()])
    with rig.ingest():
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 1)
    assert rig.ask("SELECT effective_at FROM decisions") == moment
    assert rig.ask("SELECT count(*) FROM decisions WHERE occurred_at = :moment", moment=moment) == 1
