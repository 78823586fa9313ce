"""What became of an event submitted by Kafka: on consent.results.v1 and in the ledger, without addresses (R13, R45)."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from sqlalchemy import Engine, create_engine

from consent_api.ingest import results
from consent_api.ledger import events
from tests.integration.flow.rig import TENANT, Rig, Running, grant, refusal
from tests.support.waiting import until

ADDRESS = "+33639980001"


def found(rig: Rig) -> list[dict[str, Any]]:
    codec, topic = rig.codec(), rig.topics.results
    return [{**codec.decode(topic, each.value()), "key": each.key()} for each in rig.records(topic)]


def handled(ingest: Running, topic: str) -> float:
    return sum(
        ingest.metric("consent_relay_ingest_records_total", topic=topic, outcome=each)
        for each in ("recorded", "repeated", "dead_letter")
    )


def _refuse_all(rig: Rig, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": rig.kafka})
    change = ConfigEntry("max.message.bytes", "10", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result()


@pytest.fixture
def engine(rig: Rig) -> Engine:
    return create_engine(rig.database)


def test_each_record_has_a_result(rig: Rig, engine: Engine) -> None:
    given = grant(event_id="e-given")
    refused = grant(event_id="e-refused", evidence=None)
    late = refusal(
        event_id="e-late", subject_ref=given["subject_ref"], occurred_at=given["occurred_at"] - 3_600_000_000
    )
    dropping = refusal(event_id="e-dropping", address="+33639980002", occurred_at=0)
    other_tenant = refusal(event_id="e-other", tenant="globex")
    shown = refusal(event_id=ADDRESS, channel="fax")
    sent = rig.encoded([given, refused, late, dropping, other_tenant, shown])
    rig.submit(sent[:1])
    with rig.ingest() as ingest:
        until(lambda: handled(ingest, rig.topics.inbound) == 1)
        rig.submit([*sent[1:], b"no Avro", sent[0]])
        until(lambda: handled(ingest, rig.topics.inbound) == 8)
        by_event = {each["event_id"]: each for each in found(rig) if each["outcome"] != "repeated"}
        assert len(found(rig)) == 8
        with engine.connect() as connection:
            recorded, none = events.find(connection, tenant=TENANT, event_id="e-late")
            nothing, kept = events.find(connection, tenant=TENANT, event_id="e-refused")
            assert events.find(connection, tenant="globex", event_id="e-refused") == ([], [])
    engine.dispose()
    ok = by_event["e-given"]
    assert (ok["outcome"], ok["tenant"], ok["key"]) == ("recorded", TENANT, b"e-given")
    assert [each["decision_id"] for each in found(rig) if each["outcome"] == "repeated"] == [ok["decision_id"]]
    assert ok["effect"] == "in_effect"
    assert ok["errors"] == []
    no = by_event["e-refused"]
    assert (no["outcome"], no["dead_letter"], no["decision_id"]) == ("refused", "invalid", None)
    assert {"missing_evidence"} == {each["code"] for each in no["errors"]}
    assert (by_event["e-late"]["effect"], by_event["e-late"]["dead_letter"]) == ("superseded", "without_effect")
    assert by_event["e-late"]["superseded_by"] == ok["decision_id"]
    assert [each["field"] for each in by_event["e-dropping"]["dropped"]] == ["/occurred_at"]
    without_event = [each for each in found(rig) if each["event_id"] is None]
    assert sorted((each["outcome"], each["tenant"] or "") for each in without_event) == [
        ("refused", ""),
        ("refused", TENANT),
        ("unreadable", ""),
    ]
    for each in without_event:
        assert each["key"].decode() == f"{each['topic']}:{each['partition']}:{each['offset']}"
    assert "3998" not in str(found(rig))
    assert [each.decision_id for each in recorded] == [by_event["e-late"]["decision_id"]]
    assert (none, nothing) == ([], [])
    assert [(each.event, each.dead_letter) for each in kept] == [((TENANT, "", "e-refused"), "invalid")]
    assert {fault.code for fault in kept[0].errors} == {"missing_evidence"}


def test_submissions_go_on_where_the_topic_of_results_takes_none(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No withdrawal waits for the sake of a result for longer than `PATIENCE_SECONDS`."""
    monkeypatch.setattr(results, "PATIENCE_SECONDS", 0.0)
    with rig.ingest() as ingest:
        until(lambda: ingest.health.readiness() == (True, []))
        _refuse_all(rig, rig.topics.results)
        rig.submit(rig.encoded([refusal() for _ in range(5)]))
        lost = "consent_relay_ingest_results_lost_total"
        until(lambda: ingest.metric(lost, topic=rig.topics.inbound) >= 5, seconds=60)
        until(lambda: rig.committed() == 5, seconds=60)
    assert rig.ask("SELECT count(*) FROM decisions") == 5
