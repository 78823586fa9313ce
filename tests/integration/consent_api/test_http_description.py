"""/openapi.json: valid, and true to what is answered."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from sqlalchemy import Engine

from consent_api.domain.validation import EVIDENCE, FIELDS
from consent_api.http import models
from consent_api.ledger import reviews
from consent_api.ledger.reviews import NewReview
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros

A = "+33639980001"
WITHDRAWAL = {"subject_ref": "s1", "address": A, "channel": "sms", "purpose": "newsletter", "status": "withdrawn"}
GRANT = {
    **WITHDRAWAL,
    "status": "given",
    "occurred_at": "2026-01-05T10:00:00Z",
    "expires_at": "2029-01-05T10:00:00Z",
    "evidence": {name: f"some {name}" for name in EVIDENCE},
}
ADDRESSES = {"addresses": [{"channel": "sms", "address": A}]}
STOP = {"channel": "sms", "address": A, "purpose": "*", "status": "withdrawn", "evidence": {"capture_method": "reply"}}
KEY = "Idempotency-Key"

CALLS: list[tuple[str, str, str, object, int]] = [
    ("POST", "/v1/decisions", "/v1/decisions", GRANT, 201),
    ("POST", "/v1/decisions", "/v1/decisions", {**WITHDRAWAL, "event_id": "e1"}, 201),
    ("POST", "/v1/decisions", "/v1/decisions", {**WITHDRAWAL, "event_id": "e1"}, 200),
    ("POST", "/v1/decisions", "/v1/decisions", {**WITHDRAWAL, "expires_at": "never"}, 201),
    ("POST", "/v1/decisions", "/v1/decisions", {**GRANT, "evidence": None}, 422),
    ("POST", "/v1/decisions", "/v1/decisions", "text", 422),
    ("POST", "/v1/decisions/batch", "/v1/decisions/batch", {"decisions": [GRANT, {}, {**WITHDRAWAL, "a": 1}]}, 200),
    ("POST", "/v1/withdrawals/spoken", "/v1/withdrawals/spoken", {"number": A, "everything": True, "a": 1}, 201),
    ("POST", "/v1/withdrawals/spoken", "/v1/withdrawals/spoken", {"number": "anonymous"}, 422),
    ("PUT", "/v1/subjects/s1/addresses", "/v1/subjects/{subject_ref}/addresses", ADDRESSES, 200),
    ("GET", "/v1/subjects/s1/addresses", "/v1/subjects/{subject_ref}/addresses", None, 200),
    ("GET", "/v1/subjects/s1/state", "/v1/subjects/{subject_ref}/state", None, 200),
    ("GET", "/v1/subjects/s9/state", "/v1/subjects/{subject_ref}/state", None, 404),
    ("GET", "/v1/subjects/s1/state?at=x", "/v1/subjects/{subject_ref}/state", None, 422),
    ("POST", "/v1/explain", "/v1/explain", {"channel": "sms", "address": A, "purpose": "newsletter"}, 200),
    ("POST", "/v1/explain", "/v1/explain", {"channel": "sms"}, 422),
    (
        "POST",
        "/v1/links",
        "/v1/links",
        {"links": [{"channel": "sms", "address": A, "purpose": "*"}, {"channel": "sms", "address": ""}]},
        200,
    ),
    (
        "POST",
        "/v1/notices",
        "/v1/notices",
        {"notice_id": "n", "version": "1", "language": "fr", "title": "t", "text": "x"},
        201,
    ),
    ("POST", "/v1/notices", "/v1/notices", {"notice_id": "n"}, 422),
    ("POST", "/v1/gpc", "/v1/gpc", {"subject_ref": "s1"}, 200),
    ("POST", "/v1/gpc", "/v1/gpc", {}, 422),
    ("GET", "/v1/notices", "/v1/notices", None, 200),
    ("GET", "/v1/renewals", "/v1/renewals", None, 200),
    ("GET", "/v1/renewals?after=x", "/v1/renewals", None, 422),
    ("GET", "/v1/notices/n/2/fr", "/v1/notices/{notice_id}/{version}/{language}", None, 404),
    ("POST", "/v1/allow-once", "/v1/allow-once", {"channel": "sms", "address": "+33639980099"}, 404),
    ("POST", "/v1/decisions", "/v1/decisions", STOP, 201),
    ("POST", "/v1/allow-once", "/v1/allow-once", {"channel": "sms", "address": A}, 200),
    (
        "POST",
        "/v1/allow-once/use",
        "/v1/allow-once/use",
        {"channel": "sms", "address_key": f"h1.{'A' * 43}", "token": "no token"},
        200,
    ),
    ("DELETE", "/v1/subjects/s1/addresses", "/v1/subjects/{subject_ref}/addresses", ADDRESSES, 200),
    ("GET", f"/v1/decisions/{uuid4()}/receipts", "/v1/decisions/{decision_id}/receipts", None, 404),
    ("GET", "/v1/subjects/s1/history", "/v1/subjects/{subject_ref}/history", None, 200),
    ("GET", "/v1/events/e1", "/v1/events/{event_id}", None, 200),
    ("GET", "/v1/events/e-none", "/v1/events/{event_id}", None, 404),
    ("GET", "/v1/events/%2B33639980001", "/v1/events/{event_id}", None, 422),
    ("GET", f"/v1/decisions/{uuid4()}", "/v1/decisions/{decision_id}", None, 404),
    ("GET", "/v1/decisions/7/receipts", "/v1/decisions/{decision_id}/receipts", None, 422),
]


_REQUEST, _HOLD = "/v1/rights/requests/{request_id}", "/v1/rights/holds/{hold_id}"
ACCESS_ASKED = {"kind": "access", "subject_ref": "s1", "identity_note": "passport seen at the counter"}
RIGHTS: list[tuple[str, str, str, object, int]] = [
    ("POST", "/v1/rights/requests", "/v1/rights/requests", ACCESS_ASKED, 201),
    ("GET", "/v1/rights/requests", "/v1/rights/requests", None, 200),
    ("GET", _REQUEST, _REQUEST, None, 200),
    ("GET", "/v1/rights/audit", "/v1/rights/audit", None, 200),
    ("GET", f"/v1/rights/requests/{uuid4()}", _REQUEST, None, 404),
    ("POST", f"{_REQUEST}/extend", f"{_REQUEST}/extend", {"reason": "several systems"}, 200),
    ("POST", f"{_REQUEST}/resolve", f"{_REQUEST}/resolve", {"state": "done"}, 200),
    ("POST", f"{_REQUEST}/resolve", f"{_REQUEST}/resolve", {"state": "refused", "reason": "again"}, 409),
    ("POST", "/v1/rights/access", "/v1/rights/access", {"subject_ref": "s1", "format": "json", "language": "fr"}, 200),
    ("PUT", "/v1/subjects/s1/addresses", "/v1/subjects/{subject_ref}/addresses", ADDRESSES, 200),
    (
        "POST",
        "/v1/rights/rectifications",
        "/v1/rights/rectifications",
        {"channel": "sms", "old_address": A, "new_address": "+33639980002", "subject_ref": "s1"},
        200,
    ),
    ("POST", "/v1/rights/holds", "/v1/rights/holds", {"subject_ref": "s1", "reason": "a dispute"}, 201),
    ("GET", "/v1/rights/holds", "/v1/rights/holds", None, 200),
    ("POST", "/v1/rights/erasures", "/v1/rights/erasures", {"subject_ref": "s1"}, 409),
    ("DELETE", _HOLD, _HOLD, None, 200),
    ("POST", "/v1/rights/erasures", "/v1/rights/erasures", {"subject_ref": "s1", "dry_run": True}, 200),
    ("GET", f"/v1/rights/erasures/{uuid4()}", "/v1/rights/erasures/{erasure_id}", None, 404),
]


@pytest.fixture
def review_id(owner_engine: Engine, keyring: Keyring) -> str:
    """A reply in doubt that waits."""
    found = str(uuid4())
    new = NewReview(tenant="acme", channel="sms", source="twilio", rule="r", decision_ids=[found], reply="non")
    with owner_engine.begin() as connection:
        reviews.insert(connection, keyring, [new], now=now_micros())
    return found


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_the_page_of_the_description_has_every_path_and_no_script(client: TestClient, document: dict[str, Any]) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    for path, item in document["paths"].items():
        for method in item:
            assert f"{method.upper()} {path}" in page.text
    assert "<script" not in page.text
    assert not re.search(r"(?:src|href)=.?(?:https?:|//)", page.text), "nothing from another host"


def test_every_answer_is_as_described(client: TestClient, document: dict[str, Any], review_id: str) -> None:
    called = set()
    resolved = "/v1/reviews/{review_id}"
    of_review = [
        ("GET", "/v1/reviews", "/v1/reviews", None, 200),
        ("POST", f"/v1/reviews/{review_id}", resolved, {"resolution": "withdrawal"}, 200),
        ("POST", f"/v1/reviews/{review_id}", resolved, {"resolution": "not_a_withdrawal"}, 409),
        ("POST", f"/v1/reviews/{uuid4()}", resolved, {"resolution": "withdrawal"}, 404),
    ]
    ids: dict[str, str] = {}
    for method, url, path, body, status in [*CALLS, *of_review, *RIGHTS]:
        response = client.request(method, url.format(**ids), json=body, headers={KEY: str(uuid4())})
        assert response.status_code == status, (path, response.text)
        check(document, document["paths"][path][method.lower()]["responses"][str(status)], response)
        called.add((method.lower(), path))
        if path in ("/v1/rights/requests", "/v1/rights/holds") and method == "POST":
            ids |= {name: each for name, each in response.json().items() if name.endswith("_id")}
    decision = client.post("/v1/decisions", json=WITHDRAWAL, headers={KEY: "k"}).json()["decision_id"]
    path = "/v1/decisions/{decision_id}/receipts"
    response = client.get(f"/v1/decisions/{decision}/receipts")
    check(document, document["paths"][path]["get"]["responses"]["200"], response)
    response = client.get(f"/v1/decisions/{decision}")
    check(document, document["paths"]["/v1/decisions/{decision_id}"]["get"]["responses"]["200"], response)
    assert called == {(method, path) for path, methods in document["paths"].items() for method in methods}


def test_every_example_of_a_request_is_accepted(client: TestClient, document: dict[str, Any], review_id: str) -> None:
    example = document["components"]["schemas"]["AllowOnceRequest"]["examples"][0]
    client.post("/v1/decisions", json={**STOP, **example}, headers={KEY: str(uuid4())})
    rectified = document["components"]["schemas"]["RectificationSubmission"]["examples"][0]
    old = {"channel": rectified["channel"], "address": rectified["old_address"], "subject_ref": "customer-4711"}
    client.post("/v1/decisions", json={**WITHDRAWAL, **old}, headers={KEY: str(uuid4())})
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" not in operation:
                continue
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            for example in document["components"]["schemas"][name]["examples"]:
                url = path.replace("{subject_ref}", "customer-4711").replace("{review_id}", review_id)
                if "{request_id}" in url:
                    asked = client.post("/v1/rights/requests", json=ACCESS_ASKED, headers={KEY: str(uuid4())})
                    url = url.replace("{request_id}", asked.json()["request_id"])
                response = client.request(method.upper(), url, json=example, headers={KEY: str(uuid4())})
                assert response.is_success, (name, response.text)
                if not response.headers["content-type"].startswith("application/json"):
                    continue  # A document for a person.
                assert "dropped" not in response.json(), name
                check(document, operation["responses"][str(response.status_code)], response)


def test_errors_in_front_of_the_routes_are_as_described(client: TestClient, document: dict[str, Any]) -> None:
    described = document["paths"]["/v1/decisions"]["post"]["responses"]
    missing = client.post("/v1/decisions", json=GRANT)
    check(document, described["400"], missing)
    unknown = client.post("/v1/decisions", json=GRANT, headers={KEY: "k", "Authorization": "Bearer x"})
    check(document, described["401"], unknown)
    typed = client.post("/v1/decisions", content="x", headers={KEY: "k", "Content-Type": "text/csv"})
    check(document, described["415"], typed)


def test_what_may_be_sent_is_described_field_by_field() -> None:
    assert {each.encode_name for each in msgspec.structs.fields(models.SubmittedDecision)} == FIELDS
    assert {each.encode_name for each in msgspec.structs.fields(models.Evidence)} == set(EVIDENCE)


def test_the_description_of_what_is_sent_fits_what_is_accepted(document: dict[str, Any]) -> None:
    for shape, body in [("SubmittedDecision", GRANT), ("SubmittedBatch", {"decisions": [GRANT, WITHDRAWAL]})]:
        validator(document, {"$ref": f"#/components/schemas/{shape}"}).validate(body)


def check(document: dict[str, Any], described: dict[str, Any], response: Any) -> None:
    media_type = response.headers["content-type"].partition(";")[0]
    validator(document, described["content"][media_type]["schema"]).validate(response.json())


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    whole = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:api", whole)
    return Draft202012Validator(_absolute(schema), registry=registry, format_checker=FormatChecker())


def _absolute(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: f"urn:api{value}" if name == "$ref" else _absolute(value) for name, value in schema.items()}
    return [_absolute(each) for each in schema] if isinstance(schema, list) else schema
