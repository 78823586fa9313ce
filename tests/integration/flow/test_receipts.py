"""propagation.receipts.v1 into the ledger's tables, on real servers. # R28"""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from tests.integration.flow.rig import TENANT, Rig, Running
from tests.support.waiting import until


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
        "recorded_at": 1,
        "queued_at": 2,
        "reached_at": 3,
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


def test_receipts_longer_than_anything_of_ours_go_aside_and_what_a_provider_said_is_cut(rig: Rig) -> None:  # R16 R28
    long = "x" * 8_000
    texts = ("receipt_id", "tenant", "destination", "channel", "address_key", "target")
    wrong = [receipt(**{name: long}) for name in texts]
    wrong.append(receipt(decision_ids=[str(uuid4()) for _ in range(1_001)]))
    with rig.ingest() as ingest:
        produce(rig, [*wrong, receipt(detail=long, provider_reference=long), receipt()])
        until(lambda: outcome(rig, ingest, "dead_letter") == len(wrong))
        until(lambda: outcome(rig, ingest, "recorded") == 2)
        until(lambda: rig.committed("receipts") == len(wrong) + 2)
    assert rig.ask("SELECT max(length(detail)) FROM receipts") == 2_000
    assert rig.ask("SELECT max(length(provider_reference)) FROM receipts") == 1_000


def test_a_receipt_that_the_database_cannot_hold_goes_aside_alone(rig: Rig) -> None:  # R16
    with rig.owner.begin() as connection:
        connection.execute(text("ALTER TABLE receipts ADD CONSTRAINT odd CHECK (target <> 'odd')"))
    with rig.ingest() as ingest:
        produce(rig, [receipt(), receipt(target="odd"), receipt()])
        until(lambda: outcome(rig, ingest, "recorded") == 2)
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        until(lambda: rig.committed("receipts") == 3)
    topic = rig.topics.dead_letters("consent-api")
    [letter] = [rig.codec().decode(topic, each.value()) for each in rig.records(topic)]
    assert (letter["reason"], letter["error"]) == ("not_storable", "the database refuses it: 23514")
