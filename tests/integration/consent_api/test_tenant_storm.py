"""A tenant that sends more than its quota is answered 429, with all of its keys, and no other tenant is. # R45"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_http.rate_limits import BURST_SECONDS, RateLimits, RateMetrics
from consent_http.rates import Rates
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from consent_service.clock import now_micros
from consent_service.health import Health

MOST = 20
"""Requests of a tenant at once, by its quota."""


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Of two tenants."""
    return generate(tmp_path_factory.mktemp("keyring") / "keyring.toml", ["acme", "globex"])


@pytest.fixture
def api(ledger: Ledger, metrics_registry: CollectorRegistry) -> Iterator[TestClient]:
    """In which nothing is paid back: its limits' clock does not go on."""
    rates = {
        each: Rates(per_key=0, per_tenant=MOST / BURST_SECONDS) for each in ("live", "bulk", "live_batches", "read")
    }
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=("sms", "email", "voice"), default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=("sms",)),
        health=Health(),
        limits=RateLimits(rates, metrics=RateMetrics.on(metrics_registry), clock=lambda: 1_000.0),
    )
    with TestClient(app) as client:
        yield client


def key(engine: Engine, tenant: str) -> str:
    with engine.begin() as connection:
        return key_store.create(connection, tenant=tenant, scopes=["submit", "read"], name="storm", now=now_micros())


def ask(api: TestClient, token: str, way: str) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
    stop = {"subject_ref": "s1", "channel": "sms", "address": "+33639980001", "purpose": "*", "status": "withdrawn"}
    match way:
        case "live":
            return api.post("/v1/decisions", json=stop, headers=headers)
        case "read":
            return api.get("/v1/subjects/s1/state", headers=headers)
        case _:
            batch = {"decisions": [stop], "bulk": way == "bulk"}
            return api.post("/v1/decisions/batch", json=batch, headers=headers)


@pytest.mark.parametrize("way", ["live", "read", "bulk", "live_batches"])
def test_a_storm_of_one_tenant_is_answered_429_and_no_other_tenant_is(
    api: TestClient, owner_engine: Engine, metrics_registry: CollectorRegistry, way: str
) -> None:
    storming = [key(owner_engine, "acme") for _ in range(3)]
    other = key(owner_engine, "globex")

    def counted(name: str, **labels: str) -> float:
        found = metrics_registry.get_sample_value(f"consent_relay_rate_{name}_total", {"budget": way, **labels})
        return found or 0.0

    answers = [ask(api, storming[count % 3], way) for count in range(3 * MOST)]
    refused = [each for each in answers if each.status_code == 429]
    assert len(answers) - len(refused) == MOST
    assert all(int(each.headers["Retry-After"]) >= 1 for each in refused)
    assert all(each.json()["type"] == "urn:consent-relay:problem:rate-limited" for each in refused)

    expected = 404 if way == "read" else 200 if way in ("bulk", "live_batches") else 201
    assert [ask(api, other, way).status_code for _ in range(MOST)] == [expected] * MOST
    assert ask(api, storming[0], way).status_code == 429
    assert counted("units", tenant="acme") == counted("units", tenant="globex") == MOST
    assert counted("limited", tenant="acme", limit="tenant") == 2 * MOST + 1
    assert counted("limited", tenant="globex", limit="tenant") == 0
