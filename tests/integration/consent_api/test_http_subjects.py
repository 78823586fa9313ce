"""A subject's addresses, its state now and then, and explanations. # R8 R9 R14 R28 R34"""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from consent_api.domain.validation import EVIDENCE
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros

A, B = "+33639980001", "+33639980002"


def decide(client: TestClient, status: str, **given: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"channel": "sms", "purpose": "newsletter", "status": status, **given}
    if status == "given":
        body = {
            "occurred_at": rfc3339(now_micros()),
            "expires_at": "2999-01-01T00:00:00Z",
            "evidence": {name: f"some {name}" for name in EVIDENCE},
            **body,
        }
    response = client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def addresses(client: TestClient, method: str, subject: str, *numbers: str, channel: str = "sms") -> Any:
    body = {"addresses": [{"channel": channel, "address": number} for number in numbers]}
    return client.request(method, f"/v1/subjects/{subject}/addresses", json=body)


def published(engine: Engine, codec: Codec) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        values = connection.execute(text("SELECT value FROM outbox ORDER BY outbox_id")).scalars()
        return [codec.decode(Topics().changes, bytes(value)) for value in values]


def sms_key(keyring: Keyring, number: str) -> str:
    return keyring.address_key("acme", "sms", number)


def test_addresses_are_linked_listed_and_unlinked(client: TestClient, keyring: Keyring) -> None:
    response = addresses(client, "PUT", "s1", A, B, A)
    assert response.status_code == 200
    assert [each["address_key"] for each in response.json()["addresses"]] == [sms_key(keyring, A), sms_key(keyring, B)]
    assert addresses(client, "PUT", "s1", "06 39 98 00 01").json() == response.json()
    assert client.get("/v1/subjects/s1/addresses").json() == response.json()
    remaining = addresses(client, "DELETE", "s1", A, "+33639980009").json()["addresses"]
    assert [each["address_key"] for each in remaining] == [sms_key(keyring, B)]


def test_a_new_address_inherits_the_refusals_before_its_first_use(  # R34
    client: TestClient, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    decide(client, "given", subject_ref="s1", address=A)
    refusal = decide(client, "withdrawn", subject_ref="s1", purpose="survey")
    decide(client, "objected", subject_ref="s1", channel="voice", purpose="*")
    addresses(client, "PUT", "s1", B)
    on_new = [each for each in published(owner_engine, codec) if each["address_key"] == sms_key(keyring, B)]
    assert [each["decision_id"] for each in on_new] == [refusal["decision_id"]]


def test_a_number_that_moves_on_takes_no_permission_along_and_keeps_the_refusals(  # R14
    client: TestClient, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    decide(client, "given", subject_ref="s1", address=A)
    decide(client, "given", subject_ref="s1", address=B)
    decide(client, "given", subject_ref="s1", address=A, purpose="survey")
    decide(client, "withdrawn", subject_ref="s1", address=A, purpose="survey")
    before = len(published(owner_engine, codec))
    addresses(client, "DELETE", "s1", A)
    (ended,) = published(owner_engine, codec)[before:]
    assert (ended["status"], ended["purpose"]) == ("invalidated", "newsletter")
    assert ended["address_key"] == sms_key(keyring, A)
    addresses(client, "DELETE", "s1", A)
    assert len(published(owner_engine, codec)) == before + 1
    # What the subject refuses from now on no longer concerns the number; what it is given there does.
    assert decide(client, "withdrawn", subject_ref="s1")["addresses"] == [sms_key(keyring, B)]
    answer = client.post("/v1/explain", json={"channel": "sms", "address": A, "purpose": "newsletter"}).json()
    assert answer["verdict"]["reason"] == "invalidated"


def test_an_unlinked_address_that_is_linked_again_starts_with_the_refusals_alone(
    client: TestClient, keyring: Keyring
) -> None:
    decide(client, "given", subject_ref="s1", address=A)
    addresses(client, "DELETE", "s1", A)
    decide(client, "refused", subject_ref="s1", purpose="survey")
    addresses(client, "PUT", "s1", A)
    state = client.get("/v1/subjects/s1/state").json()
    (on_a,) = state["addresses"]
    reasons = {purpose: verdict["reason"] for purpose, verdict in on_a["verdicts"].items()}
    assert reasons == {"newsletter": "invalidated", "survey": "refused", "*": "unknown"}


def test_the_state_is_answered_as_it_was_with_the_evidence(client: TestClient, keyring: Keyring) -> None:  # R8
    grant = decide(client, "given", subject_ref="s/1", address=A)
    middle = rfc3339(now_micros())
    time.sleep(0.002)  # The clock, not a condition: the next decision must lie later.
    withdrawal = decide(client, "withdrawn", subject_ref="s/1")
    addresses(client, "PUT", "s/1", B)
    then = client.get("/v1/subjects/s%2F1/state", params={"at": middle}).json()
    now = client.get("/v1/subjects/s%2F1/state").json()
    (current,) = then["decisions"]
    assert current["decision_id"] == grant["decision_id"]
    assert set(current["evidence"]) == set(EVIDENCE)
    assert [each["address_key"] for each in then["addresses"]] == [sms_key(keyring, A)]
    assert then["addresses"][0]["verdicts"]["newsletter"]["permitted"]
    assert [each["decision_id"] for each in now["decisions"]] == [withdrawal["decision_id"]]
    assert len(now["addresses"]) == 2
    assert not any(each["verdicts"]["newsletter"]["permitted"] for each in now["addresses"])


def test_a_permission_has_expired_after_its_date_and_not_before(client: TestClient) -> None:
    recent = now_micros() - 60_000_000
    decide(client, "given", subject_ref="s1", address=A, occurred_at=rfc3339(recent), expires_at=rfc3339(recent + 1000))
    (on_a,) = client.get("/v1/subjects/s1/state").json()["addresses"]
    assert (on_a["verdicts"]["newsletter"]["permitted"], on_a["verdicts"]["newsletter"]["reason"]) == (False, "expired")


@pytest.mark.parametrize("at", ["2999-01-01T00:00:00Z", "yesterday", "2026-01-01T00:00:00 01:00"])
def test_a_moment_ahead_or_unreadable_is_refused(client: TestClient, at: str) -> None:
    addresses(client, "PUT", "s1", A)
    response = client.get("/v1/subjects/s1/state", params={"at": at})
    assert (response.status_code, response.json()["field"]) == (422, "at")


def test_an_unknown_subject_is_404_and_an_address_is_no_reference(client: TestClient) -> None:
    for path in ("/v1/subjects/unheard-of/state", "/v1/subjects/unheard-of/addresses"):
        assert client.get(path).status_code == 404
    assert addresses(client, "DELETE", "unheard-of", A).status_code == 404
    response = client.get("/v1/subjects/someone@example.com/state")
    assert response.status_code == 422
    assert "someone" not in response.text


@pytest.mark.parametrize(
    "reference",
    ["33639980001", "639980001", "crm-0639980001", "tel:33639980001", "%EF%BC%8B33639980001", "6%2D39980001"],
)
def test_no_address_is_linked_to_a_reference_that_holds_it(  # R13
    client: TestClient, owner_engine: Engine, reference: str
) -> None:
    response = addresses(client, "PUT", reference, B, A)
    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == ["/subject_ref"]
    assert "639980001" not in response.text
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM subjects")).scalar() == 0


def test_each_unreadable_address_of_a_list_is_named(client: TestClient) -> None:
    response = addresses(client, "PUT", "s1", A, "hello", "06")
    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == ["/addresses/1/address", "/addresses/2/address"]


def test_explain_names_the_deciding_decision_its_evidence_and_who_was_informed(  # R9
    client: TestClient, owner_engine: Engine, keyring: Keyring
) -> None:
    decide(client, "given", subject_ref="s1", address=A)
    evidence = {"capture_method": "call-recording", "actor": "agent 7"}
    refusal = decide(client, "objected", subject_ref="s1", purpose="*", evidence=evidence)
    receipt(owner_engine, "r1", refusal["decision_id"], sms_key(keyring, A), "queued")
    receipt(owner_engine, "r2", refusal["decision_id"], sms_key(keyring, A), "accepted")
    receipt(owner_engine, "r3", refusal["decision_id"], sms_key(keyring, B), "accepted")
    question = {"channel": "sms", "address": "06 39 98 00 01", "purpose": "newsletter"}
    answer = client.post("/v1/explain", json=question).json()
    assert answer["verdict"]["permitted"] is False
    assert answer["deciding"]["decision_id"] == refusal["decision_id"]
    assert answer["deciding"]["evidence"] == evidence
    assert answer["age_seconds"] >= 0
    assert [each["status"] for each in answer["others"]] == ["given"]
    assert [each["stage"] for each in answer["receipts"]] == ["queued", "accepted"]
    listed = client.get(f"/v1/decisions/{refusal['decision_id']}/receipts").json()["receipts"]
    assert [each["receipt_id"] for each in listed] == ["r1", "r2", "r3"]


def test_explain_says_unknown_of_an_address_without_decisions(client: TestClient) -> None:
    answer = client.post("/v1/explain", json={"channel": "sms", "address": A, "purpose": "survey"}).json()
    assert (answer["verdict"]["permitted"], answer["verdict"]["reason"]) == (False, "unknown")
    assert answer["deciding"] is None


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"channel": "sms", "address": "zebra", "purpose": "survey"}, "/address"),
        ({"channel": "fax", "address": A, "purpose": "survey"}, "/channel"),
        ({"channel": "sms", "address": A, "purpose": "No Slug"}, "/purpose"),
        ({"channel": "sms", "purpose": "survey"}, "/address"),
        ({"channel": "sms", "address": 7, "purpose": "survey"}, "/address"),
    ],
)
def test_a_wrong_question_is_refused(client: TestClient, question: dict[str, Any], field: str) -> None:
    response = client.post("/v1/explain", json=question)
    assert (response.status_code, response.json()["field"]) == (422, field)


def test_receipts_of_an_unknown_decision_are_404(client: TestClient) -> None:
    assert client.get(f"/v1/decisions/{uuid4()}/receipts").status_code == 404
    assert client.get("/v1/decisions/7/receipts").status_code == 422


def test_the_history_has_every_decision_with_its_effect_now(client: TestClient) -> None:
    given = decide(client, "given", subject_ref="s1", address=A)
    withdrawn = decide(client, "withdrawn", subject_ref="s1")
    decide(client, "withdrawn", subject_ref="s2", address=B)
    elsewhere = decide(client, "objected", subject_ref="s1", channel="email")
    answer = client.get("/v1/subjects/s1/history").json()
    found = [(each["decision_id"], each["effect"], each.get("superseded_by")) for each in answer["decisions"]]
    assert found == [
        (given["decision_id"], "superseded", withdrawn["decision_id"]),
        (withdrawn["decision_id"], "in_effect", None),
        (elsewhere["decision_id"], "no_address", None),
    ]
    assert answer["decisions"][0]["evidence"]
    assert answer["decisions"][1]["addresses"] == withdrawn["addresses"]
    assert answer["more_after"] is None
    one = client.get(f"/v1/decisions/{given['decision_id']}").json()
    assert one == answer["decisions"][0]
    assert client.get("/v1/subjects/s9/history").status_code == 404
    assert client.get(f"/v1/decisions/{uuid4()}").status_code == 404
    assert client.get("/v1/decisions/7").status_code == 404


def test_a_long_history_comes_page_by_page(client: TestClient) -> None:
    refusals = [{"subject_ref": "s1", "channel": "sms", "purpose": f"p{n}", "status": "refused"} for n in range(250)]
    sent = client.post(
        "/v1/decisions/batch", json={"decisions": refusals, "bulk": True}, headers={"Idempotency-Key": "k"}
    )
    ids = [each["decision_id"] for each in sent.json()["results"]]
    pages, after = [], None
    while True:
        answer = client.get("/v1/subjects/s1/history", params={"after": after} if after else {}).json()
        pages.append([each["decision_id"] for each in answer["decisions"]])
        after = answer["more_after"]
        if after is None:
            break
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [each for page in pages for each in page] == ids
    other = client.get("/v1/subjects/s1/history", params={"after": str(uuid4())}).json()
    assert other["decisions"] == []


def test_an_event_is_found_by_its_id(client: TestClient) -> None:
    decision = decide(
        client, "withdrawn", subject_ref="s1", address=A, event_id="a/b 1", evidence={"source_system": "crm"}
    )
    other = decide(client, "refused", subject_ref="s1", address=A, event_id="a/b 1")
    answer = client.get("/v1/events/a%2Fb%201").json()
    assert answer["event_id"] == "a/b 1"
    found = {each["source"]: (each["outcome"], each["decision_id"], each["effect"]) for each in answer["results"]}
    assert found.pop("crm") == ("recorded", decision["decision_id"], "in_effect")
    assert list(found.values()) == [("recorded", other["decision_id"], "in_effect")]
    assert client.get("/v1/events/a").status_code == 404
    assert client.get("/v1/events/ann%40example.com").status_code == 422


def test_one_tenant_sees_nothing_of_another(client: TestClient, owner_engine: Engine) -> None:
    decision = decide(client, "withdrawn", subject_ref="s1", address=A, event_id="e1")
    with owner_engine.begin() as connection:
        for table in ("subjects", "decisions"):
            connection.execute(text(f"UPDATE {table} SET tenant = 'globex'"))
    assert client.get("/v1/subjects/s1/state").status_code == 404
    assert client.get("/v1/events/e1").status_code == 404
    assert client.get("/v1/subjects/s1/history").status_code == 404
    assert client.get(f"/v1/decisions/{decision['decision_id']}").status_code == 404
    assert client.get(f"/v1/decisions/{decision['decision_id']}/receipts").status_code == 404


def receipt(engine: Engine, receipt_id: str, decision_id: str, address_key: str, stage: str) -> None:
    now = now_micros()
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO receipts VALUES (:id, 'acme', 'twilio-fr', 'sms', :key, 'list-1', 'suppress', :stage, 1,
                    :now, :now, :now, 1, NULL, NULL)"""),
            {"id": receipt_id, "key": address_key, "stage": stage, "now": now},
        )
        connection.execute(
            text("INSERT INTO receipt_decisions VALUES (:decision_id, :id)"),
            {"decision_id": decision_id, "id": receipt_id},
        )
