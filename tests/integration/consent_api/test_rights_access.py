"""All that is held about a person: what is in it, whose it is, and page by page. # R32"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator, FormatChecker
from sqlalchemy import Engine, text

from consent_api.ledger import reviews
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.reviews import NewReview
from consent_api.links import pauses
from consent_api.links.pauses import Pause
from consent_api.links.theme import Theme
from consent_api.rights.access import reading
from consent_api.rights.person_ref import PersonRef
from consent_contracts.cloudevents import rfc3339
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.support.evidence import EVIDENCE

ACCESS = "/v1/rights/access"
A, B = "+33639980001", "+33639980002"
SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "personal-data.schema.json").read_text("utf-8"))


def decide(client: TestClient, status: str, **given: Any) -> str:
    body: dict[str, Any] = {"channel": "sms", "purpose": "newsletter", "status": status, **given}
    if status == "given":
        times = {"occurred_at": rfc3339(now_micros()), "expires_at": "2999-01-01T00:00:00Z"}
        body = {**times, "evidence": EVIDENCE, **body}
    answer = client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["decision_id"])


def move(client: TestClient, method: str, subject: str, *numbers: str) -> None:
    body = {"addresses": [{"channel": "sms", "address": number} for number in numbers]}
    assert client.request(method, f"/v1/subjects/{subject}/addresses", json=body).status_code == 200


def held(client: TestClient, **person: str) -> dict[str, Any]:
    answer = client.post(ACCESS, json=person)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    Draft202012Validator(SCHEMA, format_checker=FormatChecker()).validate(found)
    return found


def by_address(client: TestClient, number: str) -> dict[str, Any]:
    return held(client, channel="sms", address=number)


def receipt(engine: Engine, decision_id: str, address_key: str, destination: str = "twilio-fr") -> None:
    values = {"id": uuid4().hex, "to": destination, "key": address_key, "now": now_micros(), "decision": decision_id}
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO receipts VALUES (:id, 'acme', :to, 'sms', :key, 'list-1', 'suppress', 'effective', 1,
                    :now, :now, :now, 1, 'SM1', NULL)"""),
            values,
        )
        connection.execute(text("INSERT INTO receipt_decisions VALUES (:decision, :id)"), values)


def test_everything_that_is_held_is_exported(client: TestClient, owner_engine: Engine, keyring: Keyring) -> None:
    grant = decide(client, "given", subject_ref="s1", address="06 39 98 00 01", event_id="order-1")
    stop = decide(client, "withdrawn", address=A)
    move(client, "PUT", "s1", B)
    key = keyring.address_key("acme", "sms", A)
    receipt(owner_engine, stop, key)
    receipt(owner_engine, stop, key, "brevo")
    now = now_micros()
    with owner_engine.begin() as connection:
        [address_id] = connection.execute(
            text("SELECT address_id FROM address_keys WHERE address_key = :key"), {"key": key}
        ).scalars()
        pause = Pause(
            decision_id=stop,
            tenant="acme",
            address_id=address_id,
            subject_ref=None,
            channel="sms",
            purpose="newsletter",
            paused_at=now,
            ends_at=now + 1,
            expires_at=now + 2,
            evidence={},
        )
        pauses.add(connection, [pause])
        review = NewReview(tenant="acme", channel="sms", source="twilio", rule="r", decision_ids=[stop], reply="stop?")
        reviews.insert(connection, keyring, [review], now=now)
        for statement in (
            "INSERT INTO allow_once_uses VALUES (:address_id, :stop, :now)",
            "INSERT INTO register_loads VALUES ('acme', 'tps', '{sms}', '{*}', 'FR', :now, :now, 'test', '', 1, 1, 0)",
            "INSERT INTO register_entries VALUES ('acme', 'tps', :address_id, '*', :now)",
            "INSERT INTO register_entries VALUES ('acme', 'tps', -1, '*', :now)",
        ):
            connection.execute(text(statement), {"address_id": address_id, "stop": stop, "now": now})
    hold = client.post("/v1/rights/holds", json={"subject_ref": "s1", "reason": "dispute 118"})
    assert hold.status_code == 201, hold.text
    body = {"kind": "access", "subject_ref": "s1", "identity_note": "at the counter"}
    client.post("/v1/rights/requests", json=body, headers={"Idempotency-Key": str(uuid4())})

    found = held(client, subject_ref="s1")
    assert found["held"] is True
    assert [each["subject_ref"] for each in found["subjects"]] == ["s1"]
    assert [(each["address"], bool(each["linked_at"])) for each in found["addresses"]] == [(A, True), (B, True)]
    assert [each["decision_id"] for each in found["decisions"]] == [grant, stop]
    given, withdrawn = found["decisions"]
    assert (given["evidence"]["notice_version"], given["event_id"], given["effect"]) == ("3", "order-1", "superseded")
    assert given["addresses"] == withdrawn["addresses"] == [A]
    assert {each["recipient"] for each in withdrawn["passed_on"]} == {"twilio-fr", "brevo"}
    assert {each["recipient"] for each in found["recipients"]} == {"twilio-fr", "brevo"}
    current = {each["purpose"]: each["permitted"] for each in found["addresses"][0]["current"]}
    assert current == {"*": False, "newsletter": False}
    assert [each["purpose"] for each in found["pauses"]] == ["newsletter"]
    assert [each["reply"] for each in found["reviews"]] == ["stop?"]
    assert [each["kind"] for each in found["requests"]] == ["access"]
    assert "confirmed_at" in found["addresses"][0]
    assert [(each["register"], each["address"]) for each in found["registers"]] == [("tps", A)]
    assert [(each["reason"], each["released_at"]) for each in found["holds"]] == [("dispute 118", None)]
    assert found["decided_by_another"] == []


def test_nothing_is_a_true_answer(client: TestClient) -> None:
    for person in ({"subject_ref": "customer-4711"}, {"channel": "sms", "address": A}):
        found = held(client, **person)
        assert found["held"] is False
        assert (found["addresses"], found["decisions"], found["recipients"]) == ([], [], [])
        assert found["person"] == person


def test_what_outlives_an_erasure_is_shown(client: TestClient, owner_engine: Engine, keyring: Keyring) -> None:
    values = {"id": str(uuid4()), "key": keyring.address_key("acme", "sms", A)}
    with owner_engine.begin() as connection:
        connection.execute(text("INSERT INTO erasures VALUES (:id, 'acme', 'key:k', 1, 1, NULL, 1, 1)"), values)
        connection.execute(
            text("""INSERT INTO retained_proofs (erasure_id, tenant, channel, address_key, purpose, effective_at,
                    recorded_at, expires_at, notice, ground, keep_until)
                    VALUES (:id, 'acme', 'sms', :key, 'newsletter', 1, 1, NULL, '{"notice_id": "n"}', 'a law', 2)"""),
            values,
        )
    found = by_address(client, A)
    assert found["held"] is True
    assert [each["ground"] for each in found["retained_proofs"]] == ["a law"]
    assert found["addresses"] == []


def test_requests_and_holds_of_another_who_named_the_number_too_are_theirs(client: TestClient, ledger: Ledger) -> None:
    number = {"channel": "sms", "address": A}
    decide(client, "withdrawn", subject_ref="s1", address=A)
    for who in ({"subject_ref": "neighbour"}, {"subject_ref": "s1"}, {}):
        name = who.get("subject_ref", "the number")
        assert client.post("/v1/rights/holds", json={**who, **number, "reason": name}).status_code == 201
        body = {"kind": "access", **who, **number, "identity_note": f"seen: {name}"}
        opened = client.post("/v1/rights/requests", json=body, headers={"Idempotency-Key": str(uuid4())})
        assert opened.status_code == 201, opened.text

    def shown(found: dict[str, Any]) -> list[tuple[list[str], int]]:
        return [([each["reason"] for each in found["holds"]], len(found["requests"]))]

    assert shown(held(client, subject_ref="s1", **number)) == [(["s1", "the number"], 2)]
    assert shown(held(client, subject_ref="neighbour")) == [(["neighbour"], 1)]
    assert shown(by_address(client, A)) == [(["s1", "the number"], 2)], "of the one subject that it is linked to"
    proven = PersonRef(tenant="acme", channel="sms", address=A)
    export = reading.Export(
        ledger.transact, ledger.context.keyring, proven, theme=Theme(name="acme"), language="en", names_subject=False
    )
    assert [each.reason for each in export.head.holds] == ["the number"]
    assert len(export.head.requests) == 1


def test_another_person_at_the_address_shows_only_in_what_they_decide(
    client: TestClient, owner_engine: Engine, keyring: Keyring
) -> None:
    decide(client, "given", subject_ref="s1", address=A)
    decide(client, "given", subject_ref="neighbour", address=A, purpose="survey")
    decide(client, "given", subject_ref="neighbour", address=A)
    deciding = decide(client, "withdrawn", subject_ref="neighbour", address=A)
    decide(client, "withdrawn", subject_ref="neighbour", address=B, purpose="promotions")
    receipt(owner_engine, deciding, keyring.address_key("acme", "sms", A))
    receipt(owner_engine, deciding, keyring.address_key("acme", "sms", B), "elsewhere")
    found = held(client, subject_ref="s1")
    assert len(found["decisions"]) == 1
    others = {each["purpose"]: each for each in found["decided_by_another"]}
    assert others.keys() == {"newsletter", "survey", "promotions"}
    assert (others["newsletter"]["status"], others["newsletter"]["address"]) == ("withdrawn", A)
    assert [each["recipient"] for each in others["newsletter"]["passed_on"]] == ["twilio-fr"]
    assert "neighbour" not in json.dumps(found)
    assert B not in json.dumps(found)
    assert "evidence" not in others["survey"]


def test_an_address_that_several_share_proves_none_of_them(client: TestClient) -> None:
    decide(client, "given", subject_ref="s1", address=A)
    decide(client, "withdrawn", subject_ref="s2", address=A, purpose="survey")
    stop = decide(client, "withdrawn", address=A, purpose="promotions")
    found = by_address(client, A)
    assert [each["decision_id"] for each in found["decisions"]] == [stop]
    assert {each["purpose"] for each in found["decided_by_another"]} == {"newsletter", "survey"}
    assert found["subjects"] == []
    assert '"s1"' not in json.dumps(found)
    assert '"s2"' not in json.dumps(found)


def test_an_address_proves_what_reached_it_and_no_other_address(
    client: TestClient, owner_engine: Engine, keyring: Keyring
) -> None:
    on_a = decide(client, "given", subject_ref="s1", address=A)
    decide(client, "given", subject_ref="s1", address=B, purpose="survey")
    both = decide(client, "withdrawn", subject_ref="s1")
    receipt(owner_engine, both, keyring.address_key("acme", "sms", B), "elsewhere")
    found = by_address(client, A)
    assert [each["decision_id"] for each in found["decisions"]] == [on_a, both]
    assert [each["addresses"] for each in found["decisions"]] == [[A], [A]]
    assert [each["subject_ref"] for each in found["subjects"]] == ["s1"]
    assert B not in json.dumps(found)
    assert "elsewhere" not in json.dumps(found)


def test_a_number_that_moved_on_shows_nothing_of_its_new_owner(client: TestClient) -> None:
    mine = decide(client, "given", subject_ref="s1", address=A)
    move(client, "DELETE", "s1", A)
    decide(client, "given", subject_ref="s2", address=A, purpose="survey")
    decide(client, "withdrawn", address=A, purpose="promotions")
    found = held(client, subject_ref="s1")
    [address] = found["addresses"]
    assert (address["address"], address["current"]) == (A, [])
    assert address["unlinked_at"] is not None
    assert mine in [each["decision_id"] for each in found["decisions"]]
    assert {each["purpose"] for each in found["decisions"]} == {"newsletter"}
    assert found["decided_by_another"] == []


def test_a_long_history_is_read_page_by_page(
    ledger: Ledger, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE", 3)
    monkeypatch.setattr(reading, "IDS_AT_ONCE", 7)
    decisions = [{"channel": "sms", "purpose": f"p{number}", "status": "withdrawn"} for number in range(25)]
    of_both = [
        {**each, "subject_ref": "s1", "address": A} if n % 2 else {**each, "address": A}
        for n, each in enumerate(decisions)
    ]
    client.post("/v1/decisions/batch", json={"decisions": of_both}, headers={"Idempotency-Key": str(uuid4())})
    found = held(client, subject_ref="s1")
    assert sorted(each["purpose"] for each in found["decisions"]) == sorted(each["purpose"] for each in decisions)
    assert len({each["decision_id"] for each in found["decisions"]}) == 25
    person = PersonRef(tenant="acme", subject_ref="s1")
    export = reading.Export(ledger.transact, ledger.context.keyring, person, theme=Theme(name="acme"), language="en")
    assert {len(page) for page in export.pages()} == {3, 1}


@pytest.mark.parametrize(
    ("format_", "kind", "begins"),
    [
        ("csv", "text/csv; charset=utf-8", b"\xef\xbb\xbfrecord,"),
        ("html", "text/html; charset=utf-8", b"<!doctype html>"),
        ("pdf", "application/pdf", b"%PDF-"),
    ],
)
def test_the_same_as_a_file(client: TestClient, owner_engine: Engine, format_: str, kind: str, begins: bytes) -> None:
    decide(client, "withdrawn", subject_ref="s1", address=A)
    answer = client.post(ACCESS, json={"subject_ref": "s1", "format": format_, "language": "fr"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["cache-control"] == "no-store"
    assert f'.{format_}"' in answer.headers["content-disposition"]
    assert answer.content.startswith(begins)
    if format_ == "csv":
        rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
        assert [row["address"] for row in rows if row["record"] == "decision"] == [f"'{A}"]
    with owner_engine.connect() as connection:
        [(who, act, object_id)] = connection.execute(text("SELECT who, act, object_id FROM audit_entries")).all()
    assert (who[:4], act) == ("key:", "data_exported")
    assert "s1" not in object_id


def test_what_cannot_be_asked_names_its_field(client: TestClient) -> None:
    for body, field in (
        ({}, "/subject_ref"),
        ({"channel": "sms"}, "/address"),
        ({"channel": "fax", "address": A}, "/channel"),
        ({"subject_ref": "s1", "format": "docx"}, "/format"),
        ({"subject_ref": "s1", "request_id": "none"}, "/request_id"),
    ):
        answer = client.post(ACCESS, json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    unknown = client.post(ACCESS, json={"subject_ref": "s1", "request_id": str(uuid4())})
    assert unknown.status_code == 404
