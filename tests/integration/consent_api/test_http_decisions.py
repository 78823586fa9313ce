"""Decisions by HTTP: what is answered, and what every error says. # R15"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.validation import EVIDENCE
from consent_api.ledger import key_store
from tests.support.waiting import until

A, B = "+33639980001", "06 39 98 00 02"
GRANT: dict[str, Any] = {
    "subject_ref": "s1",
    "address": A,
    "channel": "sms",
    "purpose": "newsletter",
    "status": "given",
    "occurred_at": "2026-01-05T10:00:00+01:00",
    "expires_at": "2029-01-05T10:00:00Z",
    "evidence": {name: f"some {name}" for name in EVIDENCE},
}
WITHDRAWAL: dict[str, Any] = {"subject_ref": "s1", "channel": "sms", "purpose": "newsletter", "status": "withdrawn"}


def post(client: TestClient, body: object, path: str = "/v1/decisions", **headers: str) -> Any:
    return client.post(path, json=body, headers={"Idempotency-Key": str(uuid4()), **headers})


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:consent-relay:problem:{kind}"
    assert document["cure"]
    return document


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_decision_is_recorded(client: TestClient) -> None:
    response = post(client, GRANT)
    assert response.status_code == 201
    assert response.json()["outcome"] == "recorded"
    assert len(response.json()["addresses"]) == 1
    assert response.json()["recorded_at"].endswith("Z")


@pytest.mark.parametrize(
    ("number", "reached"),
    [
        ("+22507123456", 1),
        ("+22560123456", 1),
        ("+22997123456", 1),
        ("+5215512345678", 1),
        ("+5491112345678", 2),
        ("+551187654321", 2),
    ],
)
def test_a_stop_is_not_refused_because_of_a_plan_and_lists_all_that_it_reaches(
    client: TestClient, number: str, reached: int
) -> None:  # R10
    response = post(client, {**WITHDRAWAL, "subject_ref": None, "address": number})
    assert response.status_code == 201
    assert len(response.json()["addresses"]) == reached


def test_a_known_event_is_answered_with_its_decision(client: TestClient) -> None:
    event = {**GRANT, "event_id": "e1"}
    first, again = post(client, event), post(client, event)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "outcome": "repeated"}


def test_an_event_id_used_for_another_choice_is_refused(client: TestClient) -> None:
    post(client, {**GRANT, "event_id": "e1"})
    same_source = {**WITHDRAWAL, "event_id": "e1", "evidence": {"source_system": "some source_system"}}
    document = problem(post(client, same_source), 422, "invalid-decision")
    assert document["field"] == "/event_id"


def test_a_grant_without_evidence_lists_everything_that_is_missing(client: TestClient, owner_engine: Engine) -> None:
    bare = {name: GRANT[name] for name in ("subject_ref", "channel", "purpose", "status")}
    document = problem(post(client, bare), 422, "invalid-decision")
    missing = {f"/evidence/{name}" for name in EVIDENCE} | {"/occurred_at", "/expires_at"}
    assert {each["field"] for each in document["errors"]} == missing
    assert count(owner_engine, "decisions") == 0


def test_a_batch_answers_each_decision(client: TestClient) -> None:
    body = {"decisions": [GRANT, {**GRANT, "address": "06 12"}, 7, {**WITHDRAWAL, "event_id": "e9"}]}
    response = post(client, body, "/v1/decisions/batch")
    assert response.status_code == 200
    results = response.json()["results"]
    assert [each["outcome"] for each in results] == ["recorded", "refused", "refused", "recorded"]
    assert results[1]["errors"][0]["field"] == "/decisions/1/address"
    assert results[2]["errors"][0]["field"] == "/decisions/2"
    assert results[3]["addresses"] == results[0]["addresses"]


@pytest.mark.parametrize(
    "body", [{}, {"decisions": []}, {"decisions": [WITHDRAWAL] * 1001}, {"decisions": {}}, {"decisions": [1], "x": 1}]
)
def test_a_batch_has_one_to_a_thousand_decisions(client: TestClient, body: object) -> None:
    problem(post(client, body, "/v1/decisions/batch"), 422, "invalid-batch")


def test_a_batch_of_a_thousand_is_taken(client: TestClient) -> None:
    body = {"decisions": [{**WITHDRAWAL, "subject_ref": f"s{number}"} for number in range(1000)]}
    results = post(client, body, "/v1/decisions/batch").json()["results"]
    assert {each["outcome"] for each in results} == {"recorded"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": "hello"}, "/address"),
        ({"address": "06 39 98"}, "/address"),
        ({"channel": "email", "address": "zebra@"}, "/address"),
        ({"channel": "fax"}, "/channel"),
        ({"channel": 7}, "/channel"),
        ({"status": "maybe"}, "/status"),
        ({"purpose": "*"}, "/purpose"),
        ({"purpose": "News Letter"}, "/purpose"),
        ({"purpose": None}, "/purpose"),
        ({"subject_ref": "someone@example.com"}, "/subject_ref"),
        ({"subject_ref": "+33 6 39 98 00 01"}, "/subject_ref"),
        ({"subject_ref": "06 39 98 00 01"}, "/subject_ref"),
        ({"event_id": "0639980001"}, "/event_id"),
        ({"subject_ref": "a\u0000b"}, "/subject_ref"),
        ({"subject_ref": None, "address": None}, "/subject_ref"),
        ({"event_id": "x" * 201}, "/event_id"),
        ({"occurred_at": "yesterday"}, "/occurred_at"),
        ({"occurred_at": "2026-01-05T10:00:00"}, "/occurred_at"),
        ({"occurred_at": 1_700_000_000}, "/occurred_at"),
        ({"occurred_at": "2999-01-01T00:00:00Z", "expires_at": "2999-02-01T00:00:00Z"}, "/occurred_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"evidence": {**GRANT["evidence"], "actor": "\u0000"}}, "/evidence/actor"),
        ({"evidence": {**GRANT["evidence"], "actor": "called +33 6 39 98 00 01"}}, "/evidence/actor"),
        ({"evidence": "yes"}, "/evidence"),
        ({"evidence": {**GRANT["evidence"], "notice": "x"}}, "/evidence/notice"),
        ({"expire_at": "2029-01-01T00:00:00Z"}, "/expire_at"),
    ],
)
def test_bad_input_is_refused_with_its_field_and_a_cure(
    client: TestClient, owner_engine: Engine, change: dict[str, Any], field: str
) -> None:
    response = post(client, {**GRANT, **change})
    document = problem(response, 422, "invalid-decision")
    assert field in {each["field"] for each in document["errors"]}
    assert all(each["cure"] for each in document["errors"])
    for value in change.values():
        if isinstance(value, str) and len(value) > 3 and value != "News Letter":
            assert value not in response.text  # R13
    assert count(owner_engine, "decisions") == 0


def test_a_withdrawal_dated_in_the_future_counts_from_now(client: TestClient, owner_engine: Engine) -> None:
    assert post(client, {**WITHDRAWAL, "occurred_at": "2999-01-01T00:00:00Z"}).status_code == 201
    with owner_engine.connect() as connection:
        row = connection.execute(text("SELECT effective_at, recorded_at FROM decisions")).one()
    assert row.effective_at == row.recorded_at


def test_a_withdrawal_never_needs_evidence_and_keeps_no_address_in_it(client: TestClient, owner_engine: Engine) -> None:
    evidence = {"actor": "mobile 06 39 98 00 02", "capture_method": "sms-keyword"}
    body = {"address": B, "channel": "sms", "purpose": "*", "status": "withdrawn", "evidence": evidence}
    assert post(client, body).status_code == 201
    with owner_engine.connect() as connection:
        stored = connection.execute(text("SELECT evidence FROM decisions")).scalar_one()
    assert stored == {"actor": "(removed: held an address)", "capture_method": "sms-keyword"}


UNREAD: dict[str, Any] = {
    "occurred_at": "1970-01-01T00:00:00Z",
    "expires_at": "never",
    "evidence": {"actor": 7, "notice": "x", "notice_id": "n\u0000", "source_system": "crm"},
    "event_id": "null",
    "subject_ref": "",
    "invented": {"a": "b"},
}
LOST = {
    "/occurred_at", "/expires_at", "/evidence/actor", "/evidence/notice", "/evidence/notice_id", "/event_id",
    "/subject_ref", "/invented",
}  # fmt: skip


def test_what_a_refusal_does_not_need_is_dropped_and_listed(
    client: TestClient, owner_engine: Engine, metrics_registry: CollectorRegistry
) -> None:  # R7
    response = post(client, {**WITHDRAWAL, **UNREAD, "address": A})
    assert response.status_code == 201, response.text
    assert {each["field"] for each in response.json()["dropped"]} == LOST
    assert all(each["detail"] and each["cure"] for each in response.json()["dropped"])
    with owner_engine.connect() as connection:
        row = connection.execute(text("SELECT effective_at, recorded_at, evidence, event_id FROM decisions")).one()
    assert row.effective_at == row.recorded_at
    assert (row.evidence, row.event_id) == ({"source_system": "crm"}, None)
    for name, count in {"occurred_at": 1, "evidence": 3, "other": 1}.items():
        assert metrics_registry.get_sample_value("consent_relay_api_dropped_fields_total", {"field": name}) == count


@pytest.mark.parametrize("bulk", [False, True])
def test_a_batch_lists_what_each_refusal_was_recorded_without(client: TestClient, bulk: bool) -> None:  # R7
    body = {
        "bulk": bulk,
        "decisions": [
            {**WITHDRAWAL, "address": A},
            {**WITHDRAWAL, **UNREAD, "address": A},
            {**GRANT, "occurred_at": UNREAD["occurred_at"]},
            {**WITHDRAWAL, "subject_ref": "undefined"},
        ],
    }
    results = post(client, body, "/v1/decisions/batch").json()["results"]
    assert [each["outcome"] for each in results] == ["recorded", "recorded", "refused", "refused"]
    assert "dropped" not in results[0]
    assert {each["field"] for each in results[1]["dropped"]} == {f"/decisions/1{name}" for name in LOST}
    assert [each["field"] for each in results[2]["errors"]] == ["/decisions/2/occurred_at"]
    assert [each["detail"] for each in results[3]["errors"]] == ["identifies_no_one"]


def test_where_nothing_was_dropped_the_answer_has_no_such_list(client: TestClient) -> None:
    assert "dropped" not in post(client, GRANT).json()
    assert "dropped" not in post(client, WITHDRAWAL).json()


def test_a_repetition_lists_what_it_was_sent_without(client: TestClient) -> None:
    event = {**WITHDRAWAL, "event_id": "e1", "expires_at": "never"}
    first, again = post(client, event), post(client, event)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["dropped"] == again.json()["dropped"] != []


@pytest.mark.parametrize("written", ["s1 ", "\u00a0s1", "\ufeffs1", "s\u200b1"])
def test_a_reference_reaches_its_subject_however_it_was_copied(client: TestClient, written: str) -> None:
    known = post(client, GRANT).json()["addresses"]
    assert post(client, {**WITHDRAWAL, "subject_ref": written}).json()["addresses"] == known
    state = client.get(f"/v1/subjects/{quote(written)}/state").json()
    assert state["subject_ref"] == "s1"
    assert [each["status"] for each in state["decisions"]] == ["withdrawn"]


@pytest.mark.parametrize("written", ["null", "undefined", "0", "[object Object]"])
def test_a_url_with_a_reference_that_identifies_no_one_is_refused(client: TestClient, written: str) -> None:
    problem(client.get(f"/v1/subjects/{quote(written)}/state"), 422, "invalid-subject")
    response = client.put(
        f"/v1/subjects/{quote(written)}/addresses", json={"addresses": [{"channel": "sms", "address": A}]}
    )
    problem(response, 422, "invalid-subject")


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"{", 400, "malformed-json"),
        (b"", 400, "malformed-json"),
        (b'{"purpose": "\xff"}', 400, "malformed-json"),
        (b'{"purpose": "\\ud800"}', 422, "invalid-decision"),
        (b"[" * 200_000, 422, "invalid-request"),
        (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, 400, "malformed-json"),
        (b"[]", 422, "invalid-request"),
        (b'"text"', 422, "invalid-request"),
        (b'{"purpose": ' + b"9" * 10_000 + b"}", 422, "invalid-request"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions/batch"])
def test_a_body_that_cannot_be_read_is_said_to_be_so(
    client: TestClient, path: str, content: bytes, status: int, kind: str
) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    if kind == "invalid-decision" and path.endswith("batch"):
        kind = "invalid-batch"
    problem(client.post(path, content=content, headers=headers), status, kind)


def test_a_body_over_the_limit_is_413(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    body = b'{"purpose": "' + b"x" * 1_048_576 + b'"}'
    problem(client.post("/v1/decisions", content=body, headers=headers), 413, "body-too-large")
    chunks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    problem(client.post("/v1/decisions", content=chunks, headers=headers), 413, "body-too-large")


def test_another_content_type_is_415(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "text/plain"}
    problem(client.post("/v1/decisions", content=b"{}", headers=headers), 415, "unsupported-media-type")


def test_an_unknown_path_and_a_wrong_method_are_problems(client: TestClient) -> None:
    problem(client.get("/v2"), 404, "not-found")
    problem(client.get("/v1/decisions"), 405, "method-not-allowed")


class TestIdempotency:
    def test_a_key_is_required(self, client: TestClient) -> None:
        for path in ("/v1/decisions", "/v1/decisions/batch"):
            problem(client.post(path, json=GRANT), 400, "idempotency-key-missing")

    @pytest.mark.parametrize("key", ['""', "x" * 256])
    def test_a_key_has_bounds(self, client: TestClient, key: str) -> None:
        assert client.post("/v1/decisions", json=GRANT, headers={"Idempotency-Key": key}).status_code == 400

    def test_the_same_request_gets_the_same_answer_and_is_carried_out_once(
        self, client: TestClient, owner_engine: Engine
    ) -> None:
        headers = {"Idempotency-Key": '"k1"'}
        first = client.post("/v1/decisions", json=GRANT, headers=headers)
        again = client.post("/v1/decisions", json=GRANT, headers={"Idempotency-Key": "k1"})
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert count(owner_engine, "decisions") == 1

    def test_the_same_key_with_another_body_is_422(self, client: TestClient) -> None:
        headers = {"Idempotency-Key": "k1"}
        client.post("/v1/decisions", json=GRANT, headers=headers)
        response = client.post("/v1/decisions", json=WITHDRAWAL, headers=headers)
        problem(response, 422, "idempotency-key-reused")

    def test_a_refused_request_may_be_mended_under_its_key(self, client: TestClient) -> None:
        headers = {"Idempotency-Key": "k1"}
        assert client.post("/v1/decisions", json={**GRANT, "status": "x"}, headers=headers).status_code == 422
        assert client.post("/v1/decisions", json=GRANT, headers=headers).status_code == 201

    def test_another_request_in_flight_is_409(self, client: TestClient, engine: Engine, owner_engine: Engine) -> None:
        """The request that executes it holds the key's lock; here the test holds it, on a row of the same subject."""
        with owner_engine.begin() as connection:
            connection.execute(text("INSERT INTO subjects (tenant, subject_ref, created_at) VALUES ('acme', 's1', 0)"))
        with ThreadPoolExecutor(1) as pool, owner_engine.connect() as blocker:
            blocker.execute(text("SELECT 1 FROM subjects FOR UPDATE"))
            headers = {"Idempotency-Key": "k1"}
            slow = pool.submit(client.post, "/v1/decisions", json=WITHDRAWAL, headers=headers)
            until(lambda: advisory_locks(owner_engine) == 1)
            response = client.post("/v1/decisions", json=WITHDRAWAL, headers=headers)
            problem(response, 409, "idempotency-key-in-flight")
            assert response.headers["retry-after"] == "1"
            blocker.rollback()
            assert slow.result().status_code == 201
        assert client.post("/v1/decisions", json=WITHDRAWAL, headers=headers).content == slow.result().content

    def test_the_table_holds_neither_the_key_nor_a_plain_hash_of_the_body(
        self, client: TestClient, owner_engine: Engine
    ) -> None:
        client.post("/v1/decisions", json=GRANT, headers={"Idempotency-Key": A})
        with owner_engine.connect() as connection:
            row = connection.execute(text("SELECT key_hash, request_hash, body FROM idempotency_keys")).one()
        assert A not in f"{row.key_hash}{row.request_hash}{bytes(row.body)!r}"
        assert row.key_hash.startswith("h1.") or "." in row.key_hash


def advisory_locks(engine: Engine) -> int:
    query = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


class TestKeys:
    @pytest.mark.parametrize("header", [None, "Bearer x", "Basic abc", f"Bearer cr_abcdef_{'x' * 43}"])
    def test_without_a_live_key_it_is_401(self, client: TestClient, header: str | None) -> None:
        client.headers.pop("Authorization")
        headers = {"Authorization": header} if header else {}
        for method, path in [("POST", "/v1/decisions"), ("GET", "/v1/subjects/s1/state"), ("POST", "/v1/explain")]:
            response = client.request(method, path, headers=headers)
            problem(response, 401, "missing-api-key")
            assert response.headers["www-authenticate"].startswith("Bearer")

    def test_a_missing_scope_is_403(self, client: TestClient, owner_engine: Engine) -> None:
        with owner_engine.begin() as connection:
            token = key_store.create(connection, tenant="acme", scopes=["read"], name="reader", now=0)
        problem(post(client, GRANT, Authorization=f"Bearer {token}"), 403, "missing-scope")

    def test_a_revoked_key_is_401(self, client: TestClient, owner_engine: Engine, api_key: str) -> None:
        with owner_engine.begin() as connection:
            assert key_store.revoke(connection, api_key.split("_")[1], now=1)
            assert not key_store.revoke(connection, api_key.split("_")[1], now=1)
        problem(post(client, GRANT), 401, "missing-api-key")

    def test_a_tenant_without_hash_keys_gets_the_reason(self, client: TestClient, owner_engine: Engine) -> None:
        with owner_engine.begin() as connection:
            token = key_store.create(connection, tenant="globex", scopes=["submit"], name="x", now=0)
        problem(post(client, GRANT, Authorization=f"Bearer {token}"), 503, "tenant-without-keys")


def test_decisions_are_counted_by_outcome(client: TestClient, metrics_registry: CollectorRegistry) -> None:
    post(client, {**GRANT, "event_id": "e1"})
    post(client, {**GRANT, "event_id": "e1"})
    post(client, {**GRANT, "channel": "fax"})
    name = "consent_relay_api_decisions_total"
    for channel, outcome in [("sms", "recorded"), ("sms", "repeated"), ("other", "refused")]:
        assert metrics_registry.get_sample_value(name, {"channel": channel, "class": "live", "outcome": outcome}) == 1
    labels = {"route": "/v1/decisions", "method": "POST", "status": "201"}
    assert metrics_registry.get_sample_value("consent_relay_api_request_seconds_count", labels) == 1
