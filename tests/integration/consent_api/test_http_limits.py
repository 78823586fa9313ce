"""What one caller may send, and what one call may cost (R43, R45)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, text

from consent_api.domain.validation import ValidationRules
from consent_api.errors import LedgerContendedError, LedgerUnavailableError, TransactionTooLongError
from consent_api.http import dependencies, rendering
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_http.rate_limits import BURST_SECONDS, RateLimits
from consent_http.rates import Rates
from consent_service.clock import now_micros
from consent_service.health import Health

STOP: dict[str, Any] = {"subject_ref": "s1", "channel": "sms", "purpose": "*", "status": "withdrawn"}
ONE = Rates(per_key=0.001, per_tenant=0.002)
"""One request, and no other for a quarter of an hour."""

Serve = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture
def serve(ledger: Ledger, api_key: str) -> Serve:
    @contextmanager
    def serving(limits: RateLimits | None = None, ledger: Ledger = ledger) -> Iterator[TestClient]:
        app = create_app(
            ledger=ledger,
            key_store=key_store.ApiKeyStore(ledger.engine),
            rules=ValidationRules(channels=("sms", "email", "voice"), default_region="FR"),
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
    with serve(RateLimits({"live": ONE, "live_batches": ONE, "bulk": ONE, "read": ONE})) as client:
        for bulk in (True, False):
            batch = {"decisions": [STOP], "bulk": bulk}
            assert not limited(post(client, batch, "/v1/decisions/batch")), (
                "an import leaves the budget of live batches"
            )
            assert limited(post(client, batch, "/v1/decisions/batch"))
        assert not limited(post(client, STOP)), "an import leaves the budget of a live decision"
        assert limited(post(client, STOP))
        assert limited(client.put("/v1/subjects/s1/addresses", json={"addresses": []}))
        assert not limited(client.get("/v1/subjects/s1/state"))
        assert limited(client.get("/v1/subjects/s1/addresses"))


def test_the_keys_of_a_tenant_share_a_rate(serve: Serve, owner_engine: Engine) -> None:
    with owner_engine.begin() as connection:
        second, third = (
            key_store.create(connection, tenant="acme", scopes=["submit"], name="x", now=now_micros()) for _ in range(2)
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


@pytest.fixture
def small(ledger: Ledger) -> Ledger:
    """A ledger in which a subject has three addresses at most."""
    return Ledger(engine=ledger.engine, context=replace(ledger.context, most_addresses=3))


def number(last: int) -> str:
    return f"+336399800{last:02}"


def link(client: TestClient, *numbers: str) -> Any:
    body = {"addresses": [{"channel": "sms", "address": each} for each in numbers]}
    return client.put("/v1/subjects/s1/addresses", json=body)


def test_a_subject_has_few_addresses_and_the_refusal_says_how_to_withdraw(serve: Serve, small: Ledger) -> None:
    with serve(ledger=small) as client:
        for last in (1, 2):
            assert post(client, {**STOP, "address": number(last)}).status_code == 201
        mail = {**STOP, "channel": "email", "address": "marked77@example.com"}
        assert post(client, mail).status_code == 201
        for body in ({**STOP, "address": number(3)}, {**mail, "address": "other@example.com"}):
            refused = post(client, body)
            assert refused.status_code == 422
            (fault,) = refused.json()["errors"]
            assert (fault["field"], fault["detail"]) == ("/address", "too_many_addresses")
            assert "leave subject_ref out" in fault["cure"]
        assert post(client, {**STOP, "address": number(1)}).status_code == 201
        assert post(client, STOP).status_code == 201
        assert post(client, {**STOP, "address": number(3), "subject_ref": None}).status_code == 201
        assert post(client, {**STOP, "address": number(3), "subject_ref": "s2"}).status_code == 201


def test_a_batch_cannot_give_a_subject_more_addresses(serve: Serve, small: Ledger) -> None:
    with serve(ledger=small) as client:
        body = {"decisions": [{**STOP, "address": number(last)} for last in (1, 1, 2, 3, 4, 3, 5)], "bulk": True}
        results = post(client, body, "/v1/decisions/batch").json()["results"]
        refused = [at for at, each in enumerate(results) if each["outcome"] == "refused"]
        assert refused == [4, 6]


def test_linking_is_bounded_too_and_unlinking_makes_room(serve: Serve, small: Ledger) -> None:
    with serve(ledger=small) as client:
        refused = link(client, *map(number, range(1, 5)))
        assert refused.status_code == 422
        assert refused.json()["type"] == "urn:consent-relay:problem:too-many-addresses"
        assert client.get("/v1/subjects/s1/addresses").status_code == 404, "nothing was recorded"
        assert link(client, number(1), number(1), number(2), number(3)).status_code == 200
        assert link(client, number(1), number(2)).status_code == 200
        assert link(client, number(4)).status_code == 422
        body = {"addresses": [{"channel": "sms", "address": number(1)}]}
        assert client.request("DELETE", "/v1/subjects/s1/addresses", json=body).status_code == 200
        assert link(client, number(4)).status_code == 200


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (TransactionTooLongError("x"), "transaction-too-long", False),
        (LedgerContendedError("x"), "ledger-contended", True),
        (LedgerUnavailableError("x"), "ledger-unavailable", True),
    ],
)
def test_a_time_out_names_itself(error: LedgerUnavailableError, kind: str, again: bool) -> None:
    problem = rendering.unavailable(error)
    assert (problem.status, problem.kind) == (503, kind)
    assert str(problem.cure).startswith("Send it again") == again


def test_a_session_that_we_left_idle_for_too_long_is_a_time_out(ledger: Ledger) -> None:
    """A batch whose own work takes ten seconds ends so: sending it again would not help."""

    def idle(connection: Connection) -> None:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with ledger.engine.connect() as other:
            gone = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
            deadline = time.monotonic() + 30
            while other.execute(gone, {"pid": pid}).scalar_one() and time.monotonic() < deadline:
                other.rollback()
        connection.execute(text("SELECT 1"))

    with pytest.raises(TransactionTooLongError):
        ledger.transact(idle)


def pages(ask: Callable[[str | None], Any], name: str) -> list[list[Any]]:
    found, after = [], None
    for _ in range(20):
        answer = ask(after)
        assert answer.status_code == 200, answer.text
        assert len(answer.content) < 200_000
        found.append(answer.json()[name])
        if (after := answer.json().get("more_after")) is None:
            return found
    raise AssertionError("the pages do not end")


def test_an_address_of_many_subjects_is_explained_in_pages(serve: Serve) -> None:
    with serve() as client:
        shared = [{**STOP, "subject_ref": f"s{each}", "address": number(1)} for each in range(250)]
        assert post(client, {"decisions": shared, "bulk": True}, "/v1/decisions/batch").status_code == 200
        question = {"channel": "sms", "address": number(1), "purpose": "newsletter"}
        found = pages(
            lambda after: client.post("/v1/explain", json={**question, **({"after": after} if after else {})}), "others"
        )
        assert [len(each) for each in found] == [100, 100, 49]
        decisions = [each["decision_id"] for page in found for each in page]
        assert len(set(decisions)) == 249
        assert client.post("/v1/explain", json={**question, "after": "x"}).status_code == 422


def test_the_state_of_a_subject_comes_in_pages(serve: Serve) -> None:
    with serve() as client:
        many = [{**STOP, "address": number(1), "purpose": f"p{each}"} for each in range(130)]
        assert post(client, {"decisions": many, "bulk": True}, "/v1/decisions/batch").status_code == 200
        found = pages(
            lambda after: client.get("/v1/subjects/s1/state", params={"after": after} if after else {}), "decisions"
        )
        assert [len(each) for each in found] == [100, 30]
        assert len({each["decision_id"] for page in found for each in page}) == 130


def test_receipts_come_in_pages(serve: Serve, owner_engine: Engine) -> None:
    with serve() as client:
        recorded = post(client, {**STOP, "address": number(1)}).json()
        with owner_engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO receipts (receipt_id, tenant, destination, channel, address_key, action, stage,"
                    " version, recorded_at, queued_at, reached_at, attempts)"
                    " SELECT 'r' || n, 'acme', 'd', 'sms', :key, 'suppress', 'failed', 1, 1, 1, 1000 - n / 2, 1"
                    " FROM generate_series(1, 230) n"
                ),
                {"key": recorded["addresses"][0]},
            )
            connection.execute(
                text("INSERT INTO receipt_decisions SELECT CAST(:id AS uuid), receipt_id FROM receipts"),
                {"id": recorded["decision_id"]},
            )
        path = f"/v1/decisions/{recorded['decision_id']}/receipts"
        found = pages(lambda after: client.get(path, params={"after": after} if after else {}), "receipts")
        assert [len(each) for each in found] == [100, 100, 30]
        ids = [each["receipt_id"] for page in found for each in page]
        assert len(set(ids)) == 230
        question = {"channel": "sms", "address": number(1), "purpose": "newsletter"}
        newest = client.post("/v1/explain", json=question).json()["receipts"]
        assert [each["receipt_id"] for each in newest] == ids[-100:]
        assert client.get(path, params={"after": "a\x00"}).status_code == 422


def test_a_batch_lists_ten_addresses_of_each_decision(serve: Serve) -> None:
    with serve() as client:
        assert link(client, *map(number, range(1, 13))).status_code == 200
        (result,) = post(client, {"decisions": [STOP]}, "/v1/decisions/batch").json()["results"]
        assert (len(result["addresses"]), result["addresses_not_listed"]) == (10, 2)
        assert len(post(client, STOP).json()["addresses"]) == 12


def test_a_single_decision_has_a_short_body_and_requests_end_their_place(serve: Serve) -> None:
    with serve() as client:
        too_long = post(client, {**STOP, "x": "a" * 300_000})
        assert too_long.status_code == 413
        for _ in range(dependencies.BATCHES_AT_ONCE + 1):
            assert post(client, {"decisions": [STOP]}, "/v1/decisions/batch").status_code == 200
            assert post(client, {"decisions": 7}, "/v1/decisions/batch").status_code == 422
