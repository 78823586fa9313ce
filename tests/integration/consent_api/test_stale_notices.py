"""A version of a notice on which no permission rests any more. # R60"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidDecision
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.notices import notice_hash
from consent_api.operations.stale_notices import Ended, StaleNotice, end_permissions, mark
from consent_contracts.cloudevents import rfc3339
from consent_service.clock import now_micros
from tests.support.evidence import EVIDENCE

STALE = StaleNotice(tenant="acme", notice_id="signup", by="operator:test")


def evidence(version: str, notice_id: str = "signup") -> dict[str, str]:
    named = {"notice_id": notice_id, "notice_version": version, "notice_hash": notice_hash(version)}
    return {**EVIDENCE, **named}


def register(client: TestClient, version: str, language: str = "fr") -> None:
    body = {"notice_id": "signup", "version": version, "language": language, "title": "Offres", "text": version}
    assert client.post("/v1/notices", json=body).status_code == 201


def decide(client: TestClient, who: dict[str, str], status: str, named: dict[str, str]) -> Any:
    body: dict[str, Any] = {"channel": "email", "purpose": "promotions", "status": status, "evidence": named, **who}
    if status == "given":
        body |= {"occurred_at": rfc3339(now_micros()), "expires_at": "2999-01-05T10:00:00Z"}
    return client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})


def explained(client: TestClient, address: str) -> Any:
    asked = {"channel": "email", "address": address, "purpose": "promotions"}
    return client.post("/v1/explain", json=asked).json()


def test_permissions_on_an_older_version_end_and_all_else_stays(
    client: TestClient, ledger: Ledger, owner_engine: Engine
) -> None:
    def of(name: str) -> dict[str, str]:
        return {"address": f"{name}@example.com"}

    known = {"subject_ref": "s1", **of("known")}
    given = {
        "older": (of("older"), evidence("1")),
        "known": (known, evidence("1")),
        "again": (of("again"), evidence("1")),
        "never-registered": (of("never-registered"), evidence("0")),
        "other": (of("other"), evidence("1", notice_id="account")),
        "withdrew": (of("withdrew"), evidence("1")),
    }
    for who, named in given.values():
        assert decide(client, who, "given", named).status_code == 201
    decide(client, {"subject_ref": "s1"} | of("known-too"), "given", evidence("1"))
    decide(client, of("withdrew"), "withdrawn", {})
    for version in ("1", "2"):
        register(client, version)
    assert decide(client, of("again"), "given", evidence("2")).status_code == 201

    mark(ledger, "acme", "signup", chosen=["2"], stale=["1"])
    shares: list[float] = []
    ended = end_permissions(ledger, STALE, partitions=4, progress=shares.append)

    reasons = {name: explained(client, f"{name}@example.com")["verdict"]["reason"] for name in (*given, "known-too")}
    gone = dict.fromkeys(("older", "known", "known-too", "never-registered"), "invalidated")
    assert reasons == {**gone, "again": "given", "other": "given", "withdrew": "withdrawn"}
    assert (ended, shares) == (Ended(addresses=4), [1.0])
    with owner_engine.connect() as connection:
        rows = connection.execute(
            text("SELECT evidence, bulk FROM decisions WHERE status = 'invalidated' ORDER BY evidence")
        ).all()
        assert connection.execute(text("SELECT count(*) FROM outbox_bulk")).scalar_one() == 4
    assert {row.evidence["notice_version"] for row in rows} == {"0", "1"}
    assert all((row.evidence["capture_method"], row.evidence["actor"]) == ("stale_notice", STALE.by) for row in rows)
    assert end_permissions(ledger, STALE, partitions=4) == Ended()
    assert decide(client, of("older"), "given", evidence("2")).status_code == 201


def test_a_permission_that_names_a_stale_version_is_refused_with_the_current_ones(
    client: TestClient, ledger: Ledger
) -> None:
    for version in ("1", "2"):
        register(client, version)
    mark(ledger, "acme", "signup", chosen=["2"], stale=["1"])
    register(client, "1", language="en")  # A translation that is late.
    for language in ("fr", "en"):
        answer = decide(client, {"address": "a@example.com"}, "given", {**evidence("1"), "notice_language": language})
        assert answer.status_code == 422
        (fault,) = answer.json()["errors"]
        assert (fault["field"], fault["detail"]) == ("/evidence/notice_version", "stale_notice")
        assert "ask the person again; send one that is registered: 2" in fault["cure"]
    assert decide(client, {"address": "a@example.com"}, "withdrawn", evidence("1")).status_code == 201
    found = {
        (each["version"], each["language"]): each.get("stale_at")
        for each in client.get("/v1/notices").json()["notices"]
    }
    assert found["1", "fr"] == found["1", "en"] is not None
    assert found["2", "fr"] is None


def test_what_was_paused_does_not_go_on_under_a_stale_version(client: TestClient, ledger: Ledger) -> None:
    for version in ("1", "2"):
        register(client, version)
    now = now_micros()
    going_on = ValidDecision(
        tenant="acme",
        event_id=None,
        subject_ref=None,
        address="someone@example.com",
        channel="email",
        purpose="promotions",
        status="given",
        effective_at=now - 10_000_000,
        recorded_at=now,
        expires_at=now + 10**12,
        evidence=evidence("1"),
        goes_on=True,
    )
    mark(ledger, "acme", "signup", chosen=["2"], stale=["1"])
    others = [replace(going_on, evidence=evidence(version)) for version in ("2", "0")]
    stale, current, never_registered = ledger.record([going_on, *others])
    assert not isinstance(stale, RecordedDecision)
    assert not isinstance(never_registered, RecordedDecision)
    assert isinstance(current, RecordedDecision)


def test_what_is_recorded_while_the_version_becomes_stale_is_waited_for(client: TestClient, ledger: Ledger) -> None:
    register(client, "1")
    with ledger.engine.connect() as recording:
        recording.execute(text("SELECT 1"))
        waited: list[float] = []

        def end_at_third(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                recording.rollback()

        mark(ledger, "acme", "signup", chosen=["2"], stale=["1"], sleep=end_at_third)
    assert len(waited) >= 3


def test_a_language_whose_row_is_late_ends_with_the_others(
    client: TestClient, ledger: Ledger, owner_engine: Engine
) -> None:
    decide(client, {"address": "a@example.com"}, "given", {**evidence("1"), "notice_language": "en"})
    for version in ("1", "2"):
        register(client, version)
    mark(ledger, "acme", "signup", chosen=["2"], stale=["1"])
    register(client, "1", language="en")
    with owner_engine.begin() as connection:  # As the release before leaves it.
        connection.execute(text("UPDATE notices SET stale_at = NULL WHERE language = 'en'"))
    assert end_permissions(ledger, STALE, partitions=4) == Ended(addresses=1)


def test_one_whose_address_cannot_be_opened_keeps_no_other_from_its_end(
    client: TestClient, ledger: Ledger, owner_engine: Engine
) -> None:
    for name in ("a", "b", "c"):
        decide(client, {"address": f"{name}@example.com"}, "given", evidence("1"))
    with owner_engine.begin() as connection:
        spoil = """UPDATE address_keys SET sealed_address = convert_to('v9.zz', 'UTF8'), address_key = 'h9.unknown'
                   WHERE address_id = (SELECT min(address_id) FROM address_keys)"""
        connection.execute(text(spoil))
    for version in ("1", "2"):
        register(client, version)
    mark(ledger, "acme", "signup", chosen=["2"], stale=["1"])
    ended = end_permissions(ledger, STALE, partitions=4)
    assert ended == Ended(addresses=2, unopened=1)


def test_many_are_ended_page_by_page(client: TestClient, ledger: Ledger, owner_engine: Engine) -> None:
    for number in range(20):
        decide(client, {"address": f"p{number}@example.com"}, "given", evidence("1" if number % 2 else "2"))
    for version in ("1", "2"):
        register(client, version)
    mark(ledger, "acme", "signup", chosen=["2"], stale=["1"])
    shares: list[float] = []
    assert end_permissions(ledger, STALE, partitions=4, page=7, at_once=2, progress=shares.append) == Ended(
        addresses=10
    )
    assert shares == sorted(shares)
    assert (len(shares), shares[-1]) == (5, 1.0)  # What has ended was read as well.
    with owner_engine.connect() as connection:
        ended = "SELECT count(*) FROM decisions WHERE status = 'invalidated'"
        assert connection.execute(text(ended)).scalar_one() == 10
