"""An event id is unique with its source, and the same event is a repeat even where its time lost its fraction. # R15"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from consent_api.errors import SubmissionInvalidError
from consent_api.ledger import key_store
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from tests.integration.consent_api.accepted import decision
from tests.integration.consent_api.test_http_decisions import GRANT, WITHDRAWAL, A, post

BATCH = "/v1/decisions/batch"
FROM_SHOP = {**WITHDRAWAL, "event_id": "1001", "evidence": {"source_system": "shop"}}
FROM_CRM = {**WITHDRAWAL, "event_id": "1001", "evidence": {"source_system": "crm"}, "subject_ref": "s2"}
UNNAMED_SOURCE = {**WITHDRAWAL, "event_id": "1001", "subject_ref": "s3"}
THREE = [FROM_SHOP, FROM_CRM, UNNAMED_SOURCE]


@pytest.fixture
def other_key(owner_engine: Engine) -> dict[str, str]:
    with owner_engine.begin() as connection:
        token = key_store.create(connection, tenant="acme", scopes=["submit"], name="tests", now=1)
    return {"Authorization": f"Bearer {token}"}


def outcomes(response: Any) -> list[str]:
    return [each["outcome"] for each in response.json()["results"]]


def test_two_systems_with_the_same_event_id_are_both_recorded(client: TestClient) -> None:
    assert [post(client, each).json()["outcome"] for each in THREE] == ["recorded"] * 3
    assert [post(client, each).json()["outcome"] for each in THREE] == ["repeated"] * 3
    assert outcomes(post(client, {"decisions": THREE}, BATCH)) == ["repeated"] * 3


def test_a_batch_may_hold_both(client: TestClient) -> None:
    assert outcomes(post(client, {"decisions": [*THREE, *THREE]}, BATCH)) == ["recorded"] * 3 + ["repeated"] * 3


def test_systems_that_do_not_name_themselves_are_distinguished_by_their_keys(
    client: TestClient, other_key: dict[str, str]
) -> None:
    assert post(client, UNNAMED_SOURCE).json()["outcome"] == "recorded"
    second = {**UNNAMED_SOURCE, "subject_ref": "s9"}
    assert post(client, second, **other_key).json()["outcome"] == "recorded"
    assert post(client, second, **other_key).json()["outcome"] == "repeated"
    assert post(client, second).status_code == 422, "the same system, another choice"


def test_a_system_is_the_same_by_every_way_in(client: TestClient, other_key: dict[str, str]) -> None:
    first = post(client, FROM_SHOP).json()
    again = post(client, FROM_SHOP, **other_key).json()
    assert (again["outcome"], again["decision_id"]) == ("repeated", first["decision_id"])


def test_sources_whose_name_held_an_address_are_distinguished_by_their_keys(
    client: TestClient, other_key: dict[str, str]
) -> None:
    for number, headers in enumerate(({}, other_key)):
        evidence = {"source_system": f"desk{number}@example.com"}
        body = {**WITHDRAWAL, "event_id": "1001", "subject_ref": f"s{number}", "evidence": evidence}
        assert post(client, body, **headers).json()["outcome"] == "recorded"


@pytest.mark.parametrize("source", ["x" * 2_000, "é" * 2_000, "two\nlines"])
def test_a_source_of_any_length_can_be_stored(client: TestClient, source: str) -> None:
    body = {**WITHDRAWAL, "event_id": "é" * 200, "evidence": {"source_system": source}}
    assert [post(client, body).json()["outcome"] for _ in range(2)] == ["recorded", "repeated"]


@pytest.mark.parametrize(
    "again",
    [
        "2026-01-05T10:00:00.123456789+01:00",
        "2026-01-05T09:00:00.123Z",
        "2026-01-05T09:00:00Z",
    ],
)
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_event_whose_time_was_cut_is_a_repeat(client: TestClient, again: str, batch: bool, reverse: bool) -> None:
    bodies = [
        {**body, "event_id": "e1", "occurred_at": at}
        for body in (GRANT,)
        for at in ("2026-01-05T09:00:00.123456Z", again)
    ]
    if reverse:
        bodies.reverse()
    if batch:
        assert outcomes(post(client, {"decisions": bodies}, BATCH)) == ["recorded", "repeated"]
    else:
        assert [post(client, body).json()["outcome"] for body in bodies] == ["recorded", "repeated"]


@pytest.mark.parametrize("again", ["2026-01-05T09:00:01Z", "2026-01-05T09:00:00.124Z", "2026-01-05T09:00:00.123457Z"])
def test_the_same_choice_at_another_moment_is_another_choice(client: TestClient, again: str) -> None:
    post(client, {**GRANT, "event_id": "e1", "occurred_at": "2026-01-05T09:00:00.123456Z"})
    assert post(client, {**GRANT, "event_id": "e1", "occurred_at": again}).status_code == 422


def test_a_choice_made_after_the_first_was_received_is_another_one(client: TestClient) -> None:
    """Of a system that gives every withdrawal of a person the same id: the second is no repetition."""
    stop = {**WITHDRAWAL, "event_id": "stop-c-1"}
    first = post(client, stop).json()
    assert post(client, {**stop, "occurred_at": first["recorded_at"]}).json()["outcome"] == "repeated"
    received = datetime.fromisoformat(first["recorded_at"])
    later = (received + timedelta(seconds=3)).isoformat()
    deadline = time.monotonic() + 30
    while post(client, {**stop, "event_id": f"{uuid4()}"}).json()["recorded_at"] < later:
        assert time.monotonic() < deadline, "the clock does not advance"
        time.sleep(0.1)
    assert post(client, {**stop, "occurred_at": later}).status_code == 422


def test_what_was_refused_takes_no_event_id(ledger: Ledger) -> None:
    """A permission that may not lift, then a withdrawal under the same id in the same batch."""
    stop = decision(subject_ref="s1", address=A)
    grant = decision("given", subject_ref="s1", address=A, event_id="e1", may_lift=False, sender="crm")
    grant = replace(grant, evidence={name: text for name, text in grant.evidence.items() if name != "source_system"})
    later = decision(subject_ref="s2", address=A, event_id="e1", sender="crm")
    first, refused, recorded = ledger.record([stop, grant, later])
    assert isinstance(first, RecordedDecision)
    assert isinstance(refused, SubmissionInvalidError)
    assert isinstance(recorded, RecordedDecision)
    assert not recorded.repeated
