"""propagation.receipts.v1 into the ledger's tables, on real servers. # R28"""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

from tests.integration.flow.rig import TENANT, Rig, Running, until


def receipt(**changes: Any) -> dict[str, Any]:
    return {
        "receipt_id": str(uuid4()),
        "tenant": TENANT,
        "destination": "twilio-fr",
        "channel": "sms",
        "address_key": "h1.abc",
        "target": "list-1",
        "action": "suppress",
        "stage": "accepted",
        "decision_ids": [str(uuid4()), str(uuid4())],
        "version": 42,
        "accepted_at": 1,
        "queued_at": 2,
        "occurred_at": 3,
        "attempts": 1,
        "provider_reference": None,
        "detail": None,
        **changes,
    }


def produce(rig: Rig, receipts: list[dict[str, Any]], *raw: bytes | None) -> None:
    codec, topic = rig.codec(), rig.topics.receipts
    rig.submit([*(codec.encode(topic, each) for each in receipts), *raw], topic=topic)


def outcome(rig: Rig, ingest: Running, name: str) -> float:
    return ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.receipts, outcome=name)


def test_receipts_are_kept_once_however_often_they_come(rig: Rig) -> None:
    receipts = [receipt() for _ in range(200)]
    with rig.ingest() as ingest:
        produce(rig, [*receipts, *receipts[:50]])
        until(lambda: outcome(rig, ingest, "recorded") == 200 and outcome(rig, ingest, "repeated") == 50)
        produce(rig, receipts)
        until(lambda: outcome(rig, ingest, "repeated") == 250)
        until(lambda: rig.committed("receipts") == 450)
    assert rig.ask("SELECT count(*) FROM receipts") == 200
    assert rig.ask("SELECT count(*) FROM receipt_decisions") == 400
    first = receipts[0]
    found = rig.ask("SELECT version FROM receipts WHERE receipt_id = :id", id=first["receipt_id"])
    assert found == 42


def test_poison_among_receipts_goes_aside_and_holds_up_nothing(rig: Rig) -> None:
    wrong = [
        receipt(stage="perhaps"),
        receipt(action="call"),
        receipt(detail="nul\x00"),
        receipt(receipt_id=""),
        receipt(decision_ids=["not a uuid"]),
        receipt(attempts=-1),
        receipt(version=-1),
    ]
    with rig.ingest() as ingest:
        produce(rig, [*wrong, receipt()], None, b"junk")
        until(lambda: outcome(rig, ingest, "dead_letter") == 9)
        until(lambda: outcome(rig, ingest, "recorded") == 1)
        until(lambda: rig.committed("receipts") == 10)
    topic = rig.topics.dead_letters("consent-api")
    codec = rig.codec()
    reasons = Counter(codec.decode(topic, each.value())["reason"] for each in rig.records(topic))
    assert reasons == {"invalid": 7, "empty": 1, "not_framed": 1}
