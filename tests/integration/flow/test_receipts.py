"""propagation.receipts.v1 into the ledger's tables, on real servers. # R28"""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

from tests.integration.flow.house import TENANT, House, Running, until


def receipt(**changes: Any) -> dict[str, Any]:
    return {
        "receipt_id": str(uuid4()),
        "tenant": TENANT,
        "destination": "twilio-fr",
        "channel": "sms",
        "address_key": "h1.abc",
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


def produce(house: House, receipts: list[dict[str, Any]], *raw: bytes | None) -> None:
    codec, topic = house.codec(), house.topics.receipts
    house.submit([*(codec.encode(topic, each) for each in receipts), *raw], topic=topic)


def outcome(house: House, ingest: Running, name: str) -> float:
    return ingest.metric("consent_relay_ingest_records_total", topic=house.topics.receipts, outcome=name)


def test_receipts_are_kept_once_however_often_they_come(house: House) -> None:
    receipts = [receipt() for _ in range(200)]
    with house.ingest() as ingest:
        produce(house, [*receipts, *receipts[:50]])
        until(lambda: outcome(house, ingest, "recorded") == 200 and outcome(house, ingest, "repeated") == 50)
        produce(house, receipts)
        until(lambda: outcome(house, ingest, "repeated") == 250)
        until(lambda: house.committed("receipts") == 450)
    assert house.ask("SELECT count(*) FROM receipts") == 200
    assert house.ask("SELECT count(*) FROM receipt_decisions") == 400
    first = receipts[0]
    found = house.ask("SELECT version FROM receipts WHERE receipt_id = :id", id=first["receipt_id"])
    assert found == 42


def test_poison_among_receipts_goes_aside_and_holds_up_nothing(house: House) -> None:
    wrong = [
        receipt(stage="perhaps"),
        receipt(action="call"),
        receipt(detail="nul\x00"),
        receipt(receipt_id=""),
        receipt(decision_ids=["not a uuid"]),
        receipt(attempts=-1),
        receipt(version=-1),
    ]
    with house.ingest() as ingest:
        produce(house, [*wrong, receipt()], None, b"junk")
        until(lambda: outcome(house, ingest, "dead_letter") == 9)
        until(lambda: outcome(house, ingest, "recorded") == 1)
        until(lambda: house.committed("receipts") == 10)
    topic = house.topics.dead_letters("consent-api")
    codec = house.codec()
    reasons = Counter(codec.decode(topic, each.value())["reason"] for each in house.records(topic))
    assert reasons == {"invalid": 7, "empty": 1, "not_framed": 1}
