"""A tenant that sends more than its quota is answered 429, with all of its keys, and no other tenant is. Its import
delays no live request of another, and no import for long. # R45"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

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
from tests.support.waiting import until

MOST = 20
"""Requests of a tenant at once, by its quota."""


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Of two tenants."""
    return generate(tmp_path_factory.mktemp("keyring") / "keyring.toml", ["acme", "globex"])


class Arrivals:
    """Passes requests on, and knows which paths have arrived."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.imports = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.imports += scope.get("path") == "/v1/decisions/batch"
        await self.app(scope, receive, send)


@pytest.fixture
def unlimited(ledger: Ledger) -> Iterator[TestClient]:
    """Without quotas, with 4 threads for bulk."""
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=("sms", "email", "voice"), default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=("sms",)),
        health=Health(),
    )
    with TestClient(Arrivals(app)) as client:
        yield client


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


def test_an_import_of_one_tenant_delays_no_live_request_of_another_and_leaves_its_import_a_turn(
    unlimited: TestClient, owner_engine: Engine
) -> None:
    acme, globex = key(owner_engine, "acme"), key(owner_engine, "globex")
    for token in (acme, globex):
        assert ask(unlimited, token, "live").status_code == 201
    app: Any = unlimited.app
    ended: list[str] = []

    def import_of(token: str, name: str) -> int:
        status: int = ask(unlimited, token, "bulk").status_code
        ended.append(name)
        return status

    with owner_engine.connect() as blocker, ThreadPoolExecutor(40) as pool:
        # Their subject is locked, so that acme's imports take every thread of bulk and do not end.
        blocker.execute(text("SELECT 1 FROM subjects WHERE tenant = 'acme' FOR UPDATE"))
        waiting = [pool.submit(import_of, acme, "acme") for _ in range(24)]
        until(lambda: app.imports == 24, what="acme's imports")
        waiting.append(pool.submit(import_of, globex, "globex"))
        until(lambda: app.imports == 25, what="globex's import")
        for way in ("live", "live_batches", "read"):
            assert ask(unlimited, globex, way).status_code < 300
        assert ended == []
        blocker.rollback()
        assert {each.result(timeout=60) for each in waiting} == {200}
    # Those that had a thread, and as many that may have ended in the same moment; not all 24.
    assert ended.index("globex") <= 8


def test_live_batches_and_locked_subjects_of_one_tenant_delay_no_request_of_another(
    unlimited: TestClient, owner_engine: Engine
) -> None:
    """They wait for a lock in the threads that all requests share."""
    acme, globex = key(owner_engine, "acme"), key(owner_engine, "globex")
    for token in (acme, globex):
        assert ask(unlimited, token, "live").status_code == 201
    app: Any = unlimited.app
    ended: list[str] = []

    def waits(way: str) -> None:
        ask(unlimited, acme, way)
        ended.append(way)

    with owner_engine.connect() as blocker, ThreadPoolExecutor(80) as pool:
        blocker.execute(text("SELECT 1 FROM subjects WHERE tenant = 'acme' FOR UPDATE"))
        for way in ["live_batches"] * 60 + ["live"] * 20:
            pool.submit(waits, way)
        until(lambda: app.imports == 60, what="acme's batches")
        before = len(ended)
        # A key that was not seen before is looked up in these threads, too.
        for token in (globex, key(owner_engine, "globex")):
            for way in ("live_batches", "read", "live"):
                assert ask(unlimited, token, way).status_code < 300
        # Those that had a thread, and as many that may have ended in the same moment, for the first of them; not all.
        assert len(ended) - before < 30
        blocker.rollback()
