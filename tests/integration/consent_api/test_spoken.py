"""A withdrawal spoken in a call, over HTTP and into the ledger. # R52"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from consent_api.domain.validation import EVIDENCE
from consent_contracts.cloudevents import rfc3339
from consent_service.clock import now_micros

NUMBER, WRITTEN, EMAIL = "+33639980001", "06 39 98 00 01", "someone@example.com"
HOUR = 3600 * 1_000_000


def grant(client: TestClient, subject_ref: str, channel: str, address: str) -> None:
    body = {
        "subject_ref": subject_ref,
        "channel": channel,
        "address": address,
        "purpose": "promotions",
        "status": "given",
        "occurred_at": rfc3339(now_micros() - HOUR),
        "expires_at": "2999-01-01T00:00:00Z",
        "evidence": {name: f"some {name}" for name in EVIDENCE},
    }
    response = client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert response.status_code == 201, response.text


def permitted(client: TestClient, channel: str, address: str) -> bool:
    body = {"channel": channel, "purpose": "promotions", "address": address}
    return bool(client.post("/v1/explain", json=body).json()["verdict"]["permitted"])


def spoken(client: TestClient, **body: Any) -> Any:
    response = client.post("/v1/withdrawals/spoken", json=body)
    assert response.status_code == 201, response.text
    return response.json()


def test_nothing_is_needed_but_the_number(client: TestClient, engine: Engine) -> None:
    for channel in ("voice", "sms"):
        grant(client, "a", channel, NUMBER)
    found = spoken(client, number=WRITTEN)
    assert [(each["channel"], each["effect"]) for each in found["withdrawals"]] == [("voice", "in_effect")]
    assert "dropped" not in found
    assert "not_withdrawn" not in found
    assert not permitted(client, "voice", NUMBER)
    assert permitted(client, "sms", NUMBER)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM decisions WHERE status = 'withdrawn'")).one()
        rows = connection.execute(text("SELECT count(*) FROM outbox")).scalar_one()
    assert row.evidence == {"capture_method": "spoken", "source_system": "call", "actor": "agent"}
    assert (row.purpose, row.bulk, row.subject_id) == ("*", False, None)
    assert rows, "it leaves by the live lane"


def test_a_second_call_counts_after_a_permission_in_between(client: TestClient) -> None:
    """No answer that was kept hides it."""
    spoken(client, number=NUMBER, call_id="call-1")
    again = spoken(client, number=NUMBER, call_id="call-1")
    assert again["withdrawals"][0]["effect"] == "in_effect"


def test_nothing_at_all_reaches_the_other_addresses_of_the_person(client: TestClient) -> None:
    grant(client, "a", "voice", NUMBER)
    grant(client, "a", "email", EMAIL)
    grant(client, "b", "email", "other@example.com")
    found = spoken(client, number=NUMBER, everything=True, call_id="call-7", agent="agent 12")
    assert {each["channel"] for each in found["withdrawals"]} == {"sms", "email", "voice"}
    assert not any(permitted(client, *each) for each in (("voice", NUMBER), ("sms", NUMBER), ("email", EMAIL)))
    assert permitted(client, "email", "other@example.com")


def test_of_a_number_that_several_share_no_other_address_is_touched(client: TestClient) -> None:
    for person, address in (("a", EMAIL), ("b", "other@example.com")):
        grant(client, person, "voice", NUMBER)
        grant(client, person, "email", address)
    found = spoken(client, number=NUMBER, everything=True)
    assert found["not_withdrawn"] == [{"channel": "email", "reason": "shared_number"}]
    assert not permitted(client, "voice", NUMBER)
    assert permitted(client, "email", EMAIL)


def test_a_number_that_is_withheld_or_cannot_be_read_is_refused_with_the_reason(
    client: TestClient, engine: Engine
) -> None:
    for number, kind in (("anonymous", "number-withheld"), ("12", "invalid-withdrawal"), (None, "invalid-withdrawal")):
        response = client.post("/v1/withdrawals/spoken", json={"number": number})
        assert response.status_code == 422
        problem = response.json()
        assert problem["type"].endswith(kind)
        assert problem["field"] == "/number"
        assert problem["cure"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 0


def test_what_else_cannot_be_read_is_listed_and_the_withdrawal_recorded(client: TestClient) -> None:
    found = spoken(client, number=NUMBER, call_id=["x"], agent=EMAIL, occurred_at="yesterday", unknown=1)
    assert sorted(each["field"] for each in found["dropped"]) == ["", "/agent", "/call_id", "/occurred_at"]
    assert found["withdrawals"][0]["effect"] == "in_effect"
