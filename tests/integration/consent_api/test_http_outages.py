"""The database becomes unavailable and returns. # R43"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import URL, Engine, text

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger.database import connect
from consent_api.ledger.key_store import ApiKeyStore
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.recording import LedgerContext
from consent_api.monitors import DatabaseMonitor
from consent_service.health import Health
from tests.integration.proxy import Proxy

WITHDRAWAL = {"subject_ref": "s1", "channel": "sms", "purpose": "newsletter", "status": "withdrawn"}


@dataclass(frozen=True, kw_only=True)
class Cable:
    """The API behind a cable to its database that can be cut."""

    client: TestClient
    proxy: Proxy
    monitor: DatabaseMonitor


@pytest.fixture
def cable(service: URL, owner_engine: Engine, context: LedgerContext, api_key: str) -> Iterator[Cable]:
    with Proxy(f"{service.host}:{service.port}") as proxy:
        engine = connect(service.set(host="127.0.0.1", port=proxy.port), pool_size=4, application="tests")
        ledger = Ledger(engine=engine, context=context)
        app = create_app(
            ledger=ledger,
            key_store=ApiKeyStore(engine),
            rules=ValidationRules(channels=("sms",), default_region="FR"),
            metrics=ApiMetrics.on(CollectorRegistry(), channels=("sms",)),
            health=Health(),
        )
        headers = {"Authorization": f"Bearer {api_key}"}
        with TestClient(app, headers=headers, raise_server_exceptions=False) as client:
            yield Cable(
                client=client,
                proxy=proxy,
                monitor=DatabaseMonitor(ledger, Health(), offset=Gauge("offset", "-", registry=None)),
            )
        engine.dispose()


def test_without_its_database_the_api_says_503_and_recovers_by_itself(cable: Cable, owner_engine: Engine) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    assert cable.client.post("/v1/decisions", json=WITHDRAWAL, headers={"Idempotency-Key": "before"}).is_success
    assert cable.monitor.check() is True
    cable.proxy.cut()
    for method, path in [
        ("POST", "/v1/decisions"),
        ("GET", "/v1/subjects/s1/state"),
        ("GET", "/v1/subjects/s1/addresses"),
    ]:
        response = cable.client.request(method, path, json=WITHDRAWAL, headers=headers)
        assert response.status_code == 503, response.text
        assert response.headers["retry-after"] == "1"
        assert response.headers["content-type"] == "application/problem+json"
    assert cable.monitor.check() is not True
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 1
    cable.proxy.heal()
    assert cable.client.post("/v1/decisions", json=WITHDRAWAL, headers=headers).status_code == 201
    assert cable.monitor.check() is True


def test_a_key_that_cannot_be_looked_up_is_503_and_not_401(cable: Cable) -> None:
    cable.proxy.cut()
    assert cable.client.get("/v1/subjects/s1/state").status_code == 503
