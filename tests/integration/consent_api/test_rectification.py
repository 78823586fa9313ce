"""Rectification: the refusals go with the person, before the new address is used; the permissions do not. # R34"""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from consent_api.ledger.ledger import Ledger
from consent_api.links import pauses
from consent_contracts.codec import Codec
from consent_service.clock import now_micros
from tests.integration.consent_api.accepted import EVIDENCE_TEXTS
from tests.integration.consent_api.erasure_rig import ErasureRig

OLD, NEW, REF = "+33639987711", "+33639987722", "customer-4711"


@pytest.fixture
def rig(ledger: Ledger, owner_engine: Engine, codec: Codec) -> ErasureRig:
    return ErasureRig(ledger=ledger, owner=owner_engine, codec=codec)


def rectify(client: TestClient, code: int = 200, **sent: object) -> dict[str, object]:
    body = {"channel": "sms", "old_address": OLD, "new_address": NEW} | sent
    answer = client.post("/v1/rights/rectifications", json=body)
    assert answer.status_code == code, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_the_new_address_is_refused_what_the_person_has_refused(rig: ErasureRig, client: TestClient) -> None:
    rig.record("given", address=OLD, subject_ref=REF, purpose="survey", evidence=EVIDENCE_TEXTS)
    rig.record("withdrawn", address=OLD, subject_ref=REF, purpose="newsletter")
    rig.record("withdrawn", address=OLD, purpose="promotions")
    opened = client.post(
        "/v1/rights/requests",
        json={"kind": "rectification", "subject_ref": REF, "identity_note": "passport seen at the counter"},
        headers={"Idempotency-Key": str(uuid4())},
    ).json()
    done = rectify(client, subject_ref=REF, request_id=opened["request_id"])
    assert done["refusals"] == 2
    assert rig.verdict(NEW, "newsletter").reason == "withdrawn"
    assert rig.verdict(NEW, "promotions").reason == "withdrawn", "what the number itself had said"
    assert not rig.verdict(NEW, "survey").permitted, "a corrected typing error is no consent"
    assert rig.verdict(OLD, "survey").reason == "invalidated"
    assert rig.verdict(OLD, "newsletter").reason == "withdrawn"
    assert client.get(f"/v1/rights/requests/{opened['request_id']}").json()["state"] == "done"
    linked = client.get(f"/v1/subjects/{REF}/addresses").json()["addresses"]
    assert [each["address_key"] for each in linked] == [done["new_address_key"]]
    rig.record("given", address=NEW, subject_ref=REF, purpose="survey", evidence=EVIDENCE_TEXTS)
    assert rig.verdict(NEW, "survey").permitted


def test_a_refusal_of_before_does_not_lift_a_permission_of_after(rig: ErasureRig, client: TestClient) -> None:
    rig.record("withdrawn", address=OLD, subject_ref=None, purpose="survey", effective_at=1_000_000)
    rig.record("refused", address=OLD, subject_ref=REF, purpose="newsletter")
    rig.record("given", address=NEW, subject_ref=REF, purpose="survey", evidence=EVIDENCE_TEXTS)
    rectify(client, subject_ref=REF)
    assert rig.verdict(NEW, "survey").permitted


@pytest.mark.parametrize("subject_ref", [REF, None])
@pytest.mark.parametrize("linked", [True, False])
def test_who_said_no_calls_is_not_called_at_the_new_number(
    rig: ErasureRig, client: TestClient, subject_ref: str | None, linked: bool
) -> None:
    rig.record("given", address=OLD, subject_ref=REF, purpose="survey", evidence=EVIDENCE_TEXTS)
    if linked:
        rig.record("given", channel="voice", address=OLD, subject_ref=REF, purpose="survey", evidence=EVIDENCE_TEXTS)
    rig.record("withdrawn", channel="voice", address=OLD, purpose="*")
    done = rectify(client, subject_ref=subject_ref) if subject_ref is not None else rectify(client)
    assert done["refusals"] == 1
    # An import of an older permission.
    times = {"effective_at": 1_000_000}
    rig.record("given", channel="voice", address=NEW, purpose="survey", evidence=EVIDENCE_TEXTS, **times)
    assert rig.verdict(NEW, "survey", "voice").reason == "withdrawn"
    assert not rig.verdict(OLD, "survey", "voice").permitted


def test_without_a_subject_what_belongs_to_the_address_itself_goes(rig: ErasureRig, client: TestClient) -> None:
    rig.record("given", address=OLD, purpose="survey", evidence=EVIDENCE_TEXTS)
    rig.record("withdrawn", address=OLD, purpose="*", effective_at=1_000_000)
    assert rectify(client)["refusals"] == 1
    assert rig.verdict(NEW, "newsletter").reason == "withdrawn"
    assert rig.verdict(OLD, "survey").reason == "invalidated"


def test_no_permission_follows_a_pause_at_the_wrong_address(rig: ErasureRig, client: TestClient) -> None:
    rig.record("withdrawn", address=OLD, purpose="survey", effective_at=1_000_000)
    with rig.owner.begin() as connection:
        connection.execute(
            text("""INSERT INTO pauses
                    SELECT decision_id, tenant, address_id, NULL, channel, purpose, 1000000, 0, 9000000000000000,
                           CAST(:evidence AS jsonb) FROM decisions"""),
            {"evidence": json.dumps(EVIDENCE_TEXTS)},
        )
    rectify(client)
    with rig.ledger.engine.begin() as connection:
        assert pauses.end_due(connection, rig.ledger.context, now_micros()) == 0
    assert rig.verdict(OLD, "survey").reason == "withdrawn"


def opened(client: TestClient, kind: str, **person: str) -> str:
    answer = client.post(
        "/v1/rights/requests",
        json={"kind": kind, "identity_note": "passport seen at the counter", **person},
        headers={"Idempotency-Key": str(uuid4())},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["request_id"])


def test_a_request_for_something_else_is_not_resolved(rig: ErasureRig, client: TestClient) -> None:
    rig.record("refused", address=OLD, subject_ref=REF)
    erasure = opened(client, "erasure", subject_ref=REF)
    [fault] = rectify(client, 422, subject_ref=REF, request_id=erasure)["errors"]  # type: ignore[misc]
    assert fault == {
        "field": "/request_id",
        "detail": "other_kind",
        "cure": "send a request for rectification: this one is for erasure",
    }
    refused = opened(client, "rectification", subject_ref=REF)
    answer = {"state": "refused", "reason": "the address is right"}
    assert client.post(f"/v1/rights/requests/{refused}/resolve", json=answer).status_code == 200
    assert "/request_id" in str(rectify(client, 422, subject_ref=REF, request_id=refused)["errors"])
    sent = {"subject_ref": REF, "request_id": refused}
    assert client.post("/v1/rights/erasures", json=sent).status_code == 422
    assert client.get(f"/v1/rights/requests/{erasure}").json()["state"] == "open"
    linked = client.get(f"/v1/subjects/{REF}/addresses").json()["addresses"]
    assert [each["address_key"] for each in linked] == [rig.entry(OLD).address_key], "nothing was corrected"


def test_what_cannot_be_rectified_changes_nothing(rig: ErasureRig, client: TestClient) -> None:
    rig.record("refused", address=OLD, subject_ref=REF)
    rig.record("refused", address=NEW, subject_ref="customer-9")
    assert rectify(client, 422, new_address=OLD)["errors"] == [
        {
            "field": "/new_address",
            "detail": "same_address",
            "cure": "send an address that differs from the old one once it is read",
        }
    ]
    rectify(client, 422, new_address="not a number")
    rectify(client, 404, old_address="+33639987733")
    rectify(client, 404, subject_ref="customer-9")
    rectify(client, 404, subject_ref="customer-8")
    rectify(client, 404, request_id=str(uuid4()))
