"""What one caller may send, and what one call may cost (R43, R45)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from consent_api import keys
from consent_api.app import create_app
from consent_api.ledger.ledger import Ledger
from consent_api.metrics import ApiMetrics
from consent_api.validate import Rules
from consent_runtime.clock import now_micros
from consent_runtime.observability import Health
from consent_runtime.rate_limits import BURST_SECONDS, RateLimits, Rates

STOP: dict[str, Any] = {"subject_ref": "s1", "channel": "sms", "purpose": "*", "status": "withdrawn"}
ONE = Rates(per_key=0.001, per_tenant=0.002)
"""One request, and no other for a quarter of an hour."""

Serve = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture
def serve(ledger: Ledger, api_key: str) -> Serve:
    @contextmanager
    def serving(limits: RateLimits | None = None) -> Iterator[TestClient]:
        app = create_app(
            ledger=ledger,
            key_store=keys.ApiKeyStore(ledger.engine),
            rules=Rules(channels=("sms", "email", "voice"), default_region="FR"),
            metrics=ApiMetrics.on(CollectorRegistry(), channels=("sms",)),
            health=Health(),
            limits=limits,
        )
        with TestClient(app, headers={"Authorization": f"Bearer {api_key}"}) as client:
            yield client

    return serving


def post(client: TestClient, body: object, path: str = "/v1/decisions", **headers: str) -> Any:
    return client.post(path, json=body, headers={"Idempotency-Key": str(uuid4()), **headers})


def limited(response: Any) -> bool:
    if response.status_code != 429:
        assert response.status_code < 400, response.text
        return False
    assert response.json()["type"] == "urn:consent-relay:problem:rate-limited"
    assert int(response.headers["retry-after"]) >= 1
    return True


def test_a_caller_has_a_rate_for_each_budget(serve: Serve) -> None:
    with serve(RateLimits({"live": ONE, "bulk": ONE, "read": ONE})) as client:
        batch = {"decisions": [STOP], "bulk": False}
        assert not limited(post(client, batch, "/v1/decisions/batch"))
        assert limited(post(client, batch, "/v1/decisions/batch"))
        assert not limited(post(client, STOP)), "an import leaves the room of a live decision"
        assert limited(post(client, STOP))
        assert limited(client.put("/v1/subjects/s1/addresses", json={"addresses": []}))
        assert not limited(client.get("/v1/subjects/s1/state"))
        assert limited(client.get("/v1/subjects/s1/addresses"))


def test_the_keys_of_a_tenant_share_a_rate(serve: Serve, owner_engine: Engine) -> None:
    with owner_engine.begin() as connection:
        second, third = (
            keys.create(connection, tenant="acme", scopes=["submit"], name="x", now=now_micros()) for _ in range(2)
        )
    rates = Rates(per_key=1 / BURST_SECONDS, per_tenant=2 / BURST_SECONDS)
    with serve(RateLimits({"live": rates}, clock=lambda: 0.0)) as client:
        assert not limited(post(client, STOP))
        assert not limited(post(client, STOP, Authorization=f"Bearer {second}"))
        assert limited(post(client, STOP, Authorization=f"Bearer {third}"))


def test_a_batch_pays_for_its_decisions(serve: Serve) -> None:
    with serve(RateLimits({"bulk": Rates(per_key=10, per_tenant=0)})) as client:
        batch = {"decisions": [{**STOP, "subject_ref": f"s{number}"} for number in range(1_000)], "bulk": True}
        assert not limited(post(client, batch, "/v1/decisions/batch"))
        assert limited(post(client, {"decisions": [STOP], "bulk": True}, "/v1/decisions/batch"))
