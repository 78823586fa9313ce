"""Recorded times come from the database's clock, whatever the host's says. # R5"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.effects import Effect
from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.database import clock
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_service.health import Health
from tests.integration.consent_api.accepted import decision
from tests.integration.consent_api.test_http_decisions import GRANT, WITHDRAWAL, A, post

HOUR = 3_600_000_000


@pytest.fixture(params=[-HOUR, HOUR], ids=["an hour behind", "an hour ahead"])
def apart(request: pytest.FixtureRequest, ledger: Ledger) -> Ledger:
    return Ledger(engine=ledger.engine, context=ledger.context, clock=lambda: ledger.clock() + request.param)


@pytest.fixture
def client(apart: Ledger, api_key: str) -> Iterator[TestClient]:
    """The API on a host whose clock is wrong."""
    app = create_app(
        ledger=apart,
        key_store=key_store.ApiKeyStore(apart.engine),
        rules=ValidationRules(channels=("sms", "email", "voice"), default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=("sms", "email", "voice")),
        health=Health(),
    )
    with TestClient(app, headers={"Authorization": f"Bearer {api_key}"}, raise_server_exceptions=False) as client:
        yield client


def now(engine: Engine) -> int:
    with engine.connect() as connection:
        return clock(connection)


@pytest.mark.parametrize("batch", [False, True])
def test_a_withdrawal_without_a_time_is_stamped_with_the_right_one_and_counts(
    client: TestClient, engine: Engine, batch: bool
) -> None:
    grant = {**GRANT, "occurred_at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}
    assert post(client, grant).json()["effect"] == "in_effect", "a true permission is not in the future"
    before = now(engine)
    if batch:
        (answer,) = post(client, {"decisions": [WITHDRAWAL]}, "/v1/decisions/batch").json()["results"]
    else:
        answer = post(client, WITHDRAWAL).json()
    assert answer["effect"] == "in_effect"
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT effective_at, recorded_at FROM decisions WHERE status = 'withdrawn'")
        ).one()
    assert before <= row.effective_at <= row.recorded_at <= now(engine)
    question = {"channel": "sms", "address": A, "purpose": "newsletter"}
    explanation = client.post("/v1/explain", json=question).json()
    assert explanation["verdict"]["reason"] == "withdrawn"
    assert 0 <= explanation["age_seconds"] < 600
    state = client.get("/v1/subjects/s1/state").json()
    assert len(state["decisions"]) == 1


def test_a_permission_of_the_future_is_refused(client: TestClient) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    assert post(client, {**GRANT, "occurred_at": ahead}).status_code == 422


def test_links_are_stamped_by_the_database(client: TestClient, engine: Engine) -> None:
    before = now(engine)
    assert post(client, {**GRANT, "occurred_at": datetime.now(UTC).isoformat()}).status_code == 201
    for method in ("PUT", "DELETE"):
        body: dict[str, Any] = {"addresses": [{"channel": "sms", "address": A}]}
        assert client.request(method, "/v1/subjects/s1/addresses", json=body).status_code == 200
    with engine.connect() as connection:
        link = connection.execute(text("SELECT linked_at, unlinked_at FROM subject_addresses")).one()
        ended = connection.execute(text("SELECT recorded_at FROM decisions WHERE status = 'invalidated'")).scalar_one()
    assert before <= link.linked_at <= link.unlinked_at <= now(engine)
    assert before <= ended <= now(engine)


@pytest.mark.parametrize("subject_ref", ["s1", None])
@pytest.mark.parametrize("purpose", ["newsletter", "*"])
def test_a_refusal_without_a_time_is_never_older_than_what_is_recorded_there(
    ledger: Ledger, engine: Engine, subject_ref: str | None, purpose: str
) -> None:
    """As after the database's clock was set back."""
    later = now(engine) + HOUR
    ledger.record([decision("given", subject_ref="s1", address=A, effective_at=later, recorded_at=later)])
    address = A if subject_ref is None else None
    (refused,) = ledger.record([decision(subject_ref=subject_ref, address=address, purpose=purpose)])
    assert isinstance(refused, RecordedDecision)
    assert refused.outcome.effect is Effect.IN_EFFECT
    assert refused.recorded_at == later
    (elsewhere,) = ledger.record([decision(subject_ref="s2", address=A)])
    assert isinstance(elsewhere, RecordedDecision)
    assert elsewhere.recorded_at < later


def test_two_in_one_batch_count_in_their_order(ledger: Ledger) -> None:
    given = decision("given", subject_ref="s1", address=A)
    given = replace(given, effective_at=given.effective_at + 1_000_000, recorded_at=given.recorded_at + 1_000_000)
    outcomes = ledger.record([given, decision(subject_ref="s1")])
    assert [each.outcome.effect for each in outcomes if isinstance(each, RecordedDecision)] == [
        Effect.SUPERSEDED,
        Effect.IN_EFFECT,
    ]
