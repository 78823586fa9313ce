"""Live and bulk by HTTP: who decides, what is refused when bulk cannot keep up, and where the mark is shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, event, text

from consent_api.http import back_pressure
from consent_api.ledger.backlog import PENDING_LIMIT
from tests.integration.consent_api.test_http_decisions import GRANT, WITHDRAWAL, A, count, post, problem

BATCH = "/v1/decisions/batch"


def withdrawals(number: int, **more: Any) -> dict[str, Any]:
    return {"decisions": [{**WITHDRAWAL, "subject_ref": f"s{each}", "address": A} for each in range(number)], **more}


@pytest.fixture(autouse=True)
def _always_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-pressure looks at the ledger for every request."""
    monkeypatch.setattr(back_pressure, "READ_INTERVAL_SECONDS", 0.0)


def resolved(engine: Engine, *ages_seconds: float | None) -> None:
    """What the relays have published of the bulk lane, by partition."""
    now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    with engine.begin() as connection:
        for partition, age in enumerate(ages_seconds):
            connection.execute(
                text(f"""INSERT INTO relay_partitions (lane, partition, topic_id, resolved_at)
                         VALUES ('bulk', :partition, 't', {now} - CAST(:age AS bigint) * 1000000)
                         ON CONFLICT (lane, partition) DO UPDATE SET resolved_at = excluded.resolved_at"""),
                {"partition": partition, "age": age},
            )


@pytest.mark.parametrize(
    ("body", "bulk"),
    [
        (withdrawals(1), False),
        (withdrawals(100), False),
        (withdrawals(101), True),
        (withdrawals(101, bulk=False), False),
        (withdrawals(1, bulk=True), True),
        (withdrawals(1, bulk=None), False),
    ],
)
def test_a_batch_is_bulk_above_100_decisions_or_when_it_reports_so(
    client: TestClient, owner_engine: Engine, metrics_registry: CollectorRegistry, body: dict[str, Any], bulk: bool
) -> None:
    answer = post(client, body, BATCH)
    assert answer.status_code == 200, answer.text
    assert answer.json()["bulk"] is bulk
    number = len(body["decisions"])
    assert count(owner_engine, "outbox_bulk" if bulk else "outbox") >= number
    assert count(owner_engine, "outbox" if bulk else "outbox_bulk") == 0
    assert count(owner_engine, f"decisions WHERE bulk = {bulk}") == number
    labels = {"channel": "sms", "class": "bulk" if bulk else "live", "outcome": "recorded"}
    assert metrics_registry.get_sample_value("consent_relay_api_decisions_total", labels) == number


@pytest.mark.parametrize("bulk", ["yes", 1, {}])
def test_bulk_is_true_or_false(client: TestClient, owner_engine: Engine, bulk: object) -> None:
    document = problem(post(client, withdrawals(1, bulk=bulk), BATCH), 422, "invalid-batch")
    assert document["field"] == "/bulk"
    assert count(owner_engine, "decisions") == 0


class TestBackPressure:
    def test_bulk_is_refused_while_its_resolved_timestamp_is_older_than_a_minute(
        self, client: TestClient, owner_engine: Engine, metrics_registry: CollectorRegistry
    ) -> None:
        resolved(owner_engine, 1, 1, 75, 1)
        answer = post(client, withdrawals(1, bulk=True), BATCH)
        problem(answer, 429, "bulk-lane-congested")
        assert 15 <= int(answer.headers["Retry-After"]) <= 17
        assert count(owner_engine, "decisions") == 0
        assert metrics_registry.get_sample_value("consent_relay_api_bulk_deferred_total") == 1
        age = metrics_registry.get_sample_value("consent_relay_api_bulk_resolved_age_seconds")
        assert age is not None
        assert 75 <= age < 80
        resolved(owner_engine, 1, 1, 1, 1)
        assert post(client, withdrawals(1, bulk=True), BATCH).status_code == 200

    def test_live_is_never_refused_for_bulk(self, client: TestClient, owner_engine: Engine) -> None:
        resolved(owner_engine, *[86_400] * 4)
        assert post(client, GRANT).status_code == 201
        assert post(client, withdrawals(100), BATCH).status_code == 200

    @pytest.mark.parametrize("ages", [(), (1, 1, 1), (1, 1, 1, None)])
    def test_while_the_timestamp_is_not_known_a_little_bulk_is_accepted(
        self, client: TestClient, owner_engine: Engine, ages: tuple[float | None, ...]
    ) -> None:
        resolved(owner_engine, *ages)
        assert post(client, withdrawals(1, bulk=True), BATCH).status_code == 200
        with owner_engine.begin() as connection:
            connection.execute(
                text("""INSERT INTO outbox_bulk (topic, partition, key, value, headers, created_at)
                        SELECT 't', 0, '', '', '[]', 0 FROM generate_series(1, :number)"""),
                {"number": PENDING_LIMIT},
            )
        problem(post(client, withdrawals(1, bulk=True), BATCH), 429, "bulk-lane-congested")


@contextmanager
def slowed(engine: Engine, seconds: float) -> Iterator[None]:
    """Every statement that writes an outbox takes longer."""

    def slower(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if "INSERT INTO outbox" in statement:
            cursor.execute(f"SELECT pg_sleep({seconds})")

    event.listen(engine, "before_cursor_execute", slower)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", slower)


def test_a_live_batch_that_does_not_fit_into_a_second_is_refused_with_the_cure(
    client: TestClient, engine: Engine, owner_engine: Engine
) -> None:
    with slowed(engine, 1.2):
        answer = post(client, withdrawals(2), BATCH)
        assert "bulk" in problem(answer, 503, "transaction-too-long")["cure"]
        assert answer.headers["Retry-After"]
        assert count(owner_engine, "decisions") == 0
        assert post(client, withdrawals(2, bulk=True), BATCH).status_code == 200
    assert count(owner_engine, "decisions") == 2


def test_bulk_requests_that_wait_occupy_no_thread_of_live_ones(client: TestClient, owner_engine: Engine) -> None:
    post(client, {**WITHDRAWAL, "subject_ref": "imported"})
    imported = {"decisions": [{**WITHDRAWAL, "subject_ref": "imported"}], "bulk": True}
    with owner_engine.connect() as blocker, ThreadPoolExecutor(40) as pool:
        blocker.execute(text("SELECT 1 FROM subjects FOR UPDATE"))
        # More than the process has threads.
        waiting = [pool.submit(post, client, imported, BATCH) for _ in range(24)]
        deadline = time.monotonic() + 5
        while _waiting_for_locks(owner_engine) == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        assert post(client, withdrawals(2), BATCH).status_code == 200
        addresses = {"addresses": [{"channel": "sms", "address": A}]}
        assert client.put("/v1/subjects/other/addresses", json=addresses).status_code == 200
        assert time.monotonic() - began < 3.0
        assert not any(each.done() for each in waiting)
        blocker.rollback()
        assert {each.result(timeout=60).status_code for each in waiting} == {200}


def _waiting_for_locks(engine: Engine) -> int:
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(connection.execute(query).scalar_one())


def test_a_live_repetition_of_an_imported_event_is_answered_as_a_repetition_and_makes_it_live(
    client: TestClient, owner_engine: Engine
) -> None:
    imported = {**WITHDRAWAL, "address": A, "event_id": "e1"}
    [first] = post(client, {"decisions": [imported], "bulk": True}, BATCH).json()["results"]
    again = post(client, imported)
    assert again.status_code == 200
    assert again.json() == {**first, "outcome": "repeated"}
    assert count(owner_engine, "outbox") == count(owner_engine, "outbox_bulk") == 1
    assert marks(client, first["decision_id"]) == {False}


@pytest.mark.parametrize("bulk", [True, False])
def test_the_mark_is_shown_in_the_state_the_explanation_and_the_receipts(client: TestClient, bulk: bool) -> None:
    [recorded] = post(client, {"decisions": [{**WITHDRAWAL, "address": A}], "bulk": bulk}, BATCH).json()["results"]
    assert marks(client, recorded["decision_id"]) == {bulk}


def marks(client: TestClient, decision_id: str) -> set[bool]:
    """What every answer about the decision shows; it is the deciding one for A."""
    question = {"channel": "sms", "address": A, "purpose": "newsletter"}
    explanation = client.post("/v1/explain", json=question).json()
    [stored] = client.get("/v1/subjects/s1/state").json()["decisions"]
    receipts = client.get(f"/v1/decisions/{decision_id}/receipts").json()
    return {explanation["deciding"]["bulk"], stored["bulk"], receipts["bulk"]}
