"""The API takes access tokens beside API keys: as which tenant and client, and with which scopes (R15)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_http.jwks import JwksFile, read_file
from consent_service.health import Health
from tests.integration.consent_api.test_http_decisions import GRANT, post, problem
from tests.support.access_tokens import ALGORITHMS, Issuer, verifier

WITHDRAWAL = {**GRANT, "status": "withdrawn"}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def client(ledger: Ledger, issuer: Issuer, tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "jwks.json").write_bytes(issuer.jwks())
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=("sms", "email", "voice"), default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=("sms",)),
        health=Health(),
        access_tokens=verifier(
            JwksFile(read_file(tmp_path / "jwks.json", algorithms=ALGORITHMS), longest=3_600.0), tenants=("acme",)
        ),
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def send(client: TestClient, body: dict[str, Any], token: str) -> Any:
    return post(client, body, Authorization=f"Bearer {token}")


def test_a_token_submits_for_its_tenant_and_is_kept_as_the_sender(
    client: TestClient, issuer: Issuer, owner_engine: Engine
) -> None:
    body = {"subject_ref": "s1", "channel": "sms", "purpose": "newsletter", "status": "withdrawn", "event_id": "e1"}
    answer = send(client, body, issuer.token(scope="submit"))
    assert answer.status_code == 201, answer.text
    with owner_engine.connect() as connection:
        kept = connection.execute(text("SELECT tenant, event_source FROM decisions")).all()
    assert [tuple(row) for row in kept] == [("acme", "client crm")]


def test_without_the_scope_lift_a_permission_lifts_no_refusal(client: TestClient, issuer: Issuer) -> None:
    lifting, plain = issuer.token(scope="submit lift"), issuer.token(scope="submit")
    assert send(client, WITHDRAWAL, plain).status_code == 201
    assert send(client, GRANT, plain).status_code == 422
    assert send(client, GRANT, lifting).status_code == 201


def test_a_missing_scope_is_403_and_a_tenant_that_is_not_served_401(client: TestClient, issuer: Issuer) -> None:
    problem(send(client, GRANT, issuer.token(scope="read")), 403, "missing-scope")
    answer = send(client, GRANT, issuer.token(tenant="globex"))
    problem(answer, 401, "invalid-token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_what_a_token_does_is_in_the_audit_under_its_client(
    client: TestClient, issuer: Issuer, owner_engine: Engine
) -> None:
    answer = client.post(
        "/v1/rights/requests",
        json={"kind": "access", "subject_ref": "s1", "identity_note": "seen at the counter"},
        headers={"Authorization": f"Bearer {issuer.token(scope='rights:write')}", "Idempotency-Key": "r1"},
    )
    assert answer.status_code == 201, answer.text
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT who FROM audit_entries")).scalars().all() == ["client:crm"]


def test_the_description_has_both_schemes(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["accessToken"]["bearerFormat"] == "JWT"
    security = document["paths"]["/v1/decisions"]["post"]["security"]
    assert security == [{"apiKey": []}, {"accessToken": []}]
