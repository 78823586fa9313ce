"""A sender whose permissions may not lift a refusal: an import stamped "now" does not undo a withdrawal. # R5"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from consent_api.cli import keys as commands
from consent_api.domain.effects import Effect
from consent_api.ledger import key_store, lanes, recording
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from tests.integration.consent_api.accepted import decision
from tests.integration.consent_api.test_http_decisions import GRANT, WITHDRAWAL, A, post, problem

BATCH = "/v1/decisions/batch"


@pytest.fixture
def crm(owner_engine: Engine) -> dict[str, str]:
    """The header of a key that may not lift."""
    with owner_engine.begin() as connection:
        token = key_store.create(connection, tenant="acme", scopes=["submit"], name="crm", now=1, may_lift=False)
    return {"Authorization": f"Bearer {token}"}


def at(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def permitted(client: TestClient, address: str = A) -> bool:
    question = {"channel": "sms", "address": address, "purpose": "newsletter"}
    return bool(client.post("/v1/explain", json=question).json()["verdict"]["permitted"])


def refused(response: Any) -> None:
    document = problem(response, 422, "invalid-decision")
    assert document["errors"] == [
        {"field": "/status", "detail": "may_not_lift_refusal", "cure": document["errors"][0]["cure"]}
    ]


@pytest.mark.parametrize(
    "refusal",
    [
        {**WITHDRAWAL, "address": A},
        {**WITHDRAWAL},
        {**WITHDRAWAL, "purpose": "*"},
        {**WITHDRAWAL, "subject_ref": "s2", "address": A},
        {"channel": "sms", "purpose": "*", "status": "objected", "address": A},
        {**WITHDRAWAL, "occurred_at": "2026-02-01T00:00:00Z"},
    ],
)
@pytest.mark.parametrize("linked", [True, False])
def test_a_permission_that_would_lift_a_refusal_is_refused(
    client: TestClient, crm: dict[str, str], refusal: dict[str, Any], linked: bool
) -> None:
    if linked:
        client.put("/v1/subjects/s1/addresses", json={"addresses": [{"channel": "sms", "address": A}]})
    assert post(client, refusal).status_code == 201
    import_of_now = {**GRANT, "occurred_at": at(seconds=0)}
    refused(post(client, import_of_now, **crm))
    (result,) = post(client, {"decisions": [import_of_now]}, BATCH, **crm).json()["results"]
    assert result["outcome"] == "refused"
    assert result["errors"][0]["detail"] == "may_not_lift_refusal"
    assert not permitted(client)
    if linked:
        by_subject = {name: value for name, value in import_of_now.items() if name != "address"}
        refused(post(client, by_subject, **crm))


def test_a_permission_where_nothing_forbids_goes_through(client: TestClient, crm: dict[str, str]) -> None:
    post(client, {**WITHDRAWAL, "purpose": "survey", "address": A})
    answer = post(client, GRANT, **crm).json()
    assert (answer["effect"], permitted(client)) == ("in_effect", True)


def test_a_refusal_by_the_same_sender_goes_through(client: TestClient, crm: dict[str, str]) -> None:
    post(client, GRANT)
    assert post(client, WITHDRAWAL, **crm).json()["effect"] == "in_effect"
    assert not permitted(client)


def test_a_refusal_that_is_recorded_later_is_never_lifted_by_an_import_before_it(
    client: TestClient, crm: dict[str, str]
) -> None:
    """The CRM stamps "now" what it has known for long; the withdrawal was on its way."""
    assert post(client, {**GRANT, "occurred_at": at(seconds=0)}, **crm).json()["effect"] == "in_effect"
    assert permitted(client)
    late = post(client, {**WITHDRAWAL, "occurred_at": at(hours=9)}).json()
    assert late["effect"] == "in_effect"
    assert not permitted(client)


def test_an_import_renews_a_permission(client: TestClient, crm: dict[str, str]) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    post(client, {**WITHDRAWAL, "address": A, "occurred_at": "2025-01-01T00:00:00Z"})
    post(client, {**GRANT, "expires_at": soon})
    for day in (1, 2):
        expires_at = f"2030-01-0{day}T00:00:00Z"
        stated = f"2026-02-0{day}T00:00:00Z"
        answer = post(client, {**GRANT, "occurred_at": stated, "expires_at": expires_at}, **crm).json()
        assert answer["effect"] == "in_effect"
        question = {"channel": "sms", "address": A, "purpose": "newsletter"}
        explanation = client.post("/v1/explain", json=question).json()
        assert explanation["verdict"]["expires_at"] == expires_at
        assert explanation["verdict"]["since"] == "2026-01-05T09:00:00Z", "it counts from the permission it renews"
        assert explanation["deciding"]["occurred_at"] == stated


def test_a_person_who_chooses_again_lifts_and_the_import_then_goes_through(
    client: TestClient, crm: dict[str, str]
) -> None:
    post(client, {**WITHDRAWAL, "address": A, "occurred_at": at(hours=3)})
    refused(post(client, GRANT, **crm))
    post(client, {**GRANT, "occurred_at": at(hours=2)})
    assert post(client, {**GRANT, "occurred_at": at(hours=1)}, **crm).json()["effect"] == "in_effect"
    assert permitted(client)
    assert post(client, {**WITHDRAWAL, "occurred_at": at(hours=1.5)}).json()["effect"] == "in_effect"


def test_a_repeat_of_it_stays_a_repeat(client: TestClient, crm: dict[str, str]) -> None:
    event = {**GRANT, "event_id": "e1"}
    assert [post(client, event, **crm).status_code for _ in range(2)] == [201, 200]
    assert post(client, {**event, "occurred_at": "2026-01-06T00:00:00Z"}, **crm).status_code == 422


@pytest.mark.parametrize("subject_ref", ["s2", None])
def test_a_refusal_recorded_at_the_same_moment_is_not_lifted(
    client: TestClient, ledger: Ledger, engine: Engine, subject_ref: str | None
) -> None:
    """Of another person or of the address itself: no lock makes the two see one another."""
    ledger.record([decision("given", subject_ref="s9", address=A, purpose="survey")])
    with engine.connect() as open_transaction:
        lanes.limit(open_transaction, Lane.BULK)
        refusal = decision(subject_ref=subject_ref, address=A)
        recording.record(open_transaction, ledger.context, [refusal], lane=Lane.BULK)
        later = refusal.effective_at + 60_000_000
        grant = decision("given", subject_ref="s1", address=A, effective_at=later, recorded_at=later, may_lift=False)
        (given,) = ledger.record([grant])
        assert isinstance(given, RecordedDecision)
        assert given.outcome.effect is Effect.IN_EFFECT, "it cannot see the refusal"
        open_transaction.commit()
    assert not permitted(client)


def test_the_command_creates_and_lists_such_keys(owner_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    url = owner_engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE_OWNER", url.replace("postgresql+psycopg", "postgresql"))
    run = CliRunner().invoke
    for more in ([], ["--no-lift"]):
        words = ["create", "--tenant", "acme", "--scope", "submit", "--name", f"n{len(more)}", *more]
        token = run(commands.keys, words).output.strip()
        with owner_engine.connect():
            found = key_store.ApiKeyStore(owner_engine).find(token)
        assert found is not None
        assert found.may_lift is not bool(more)
    listed = [line.split("\t") for line in run(commands.keys, ["list"]).output.splitlines()]
    assert {(line[3], line[5]) for line in listed} == {("n0", "may-lift"), ("n1", "no-lift")}
