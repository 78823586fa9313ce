"""A decision that changes nothing says so: in its answer, in explain, with its receipts, and in the metrics. # R9"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, event, text

from consent_api.domain.effects import Effect
from consent_api.domain.validation import ValidDecision
from consent_api.ledger import lanes, recording
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from tests.integration.consent_api.accepted import YEAR, decision
from tests.integration.consent_api.test_http_decisions import GRANT, WITHDRAWAL, A, post
from tests.support.waiting import until

B = "+33639980002"
KEY = {"Idempotency-Key": "k"}
BATCH = "/v1/decisions/batch"


def ago(**units: float) -> str:
    return (datetime.now(UTC) - timedelta(**units)).isoformat()


def sent(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    response = post(client, body)
    assert response.status_code in (200, 201), response.text
    answer: dict[str, Any] = response.json()
    return answer


def explained(client: TestClient, address: str = A, purpose: str = "newsletter") -> dict[str, Any]:
    answer = client.post("/v1/explain", json={"channel": "sms", "address": address, "purpose": purpose})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("occurred_at", ["2025-01-01T00:00:00Z", "2026-01-05T08:00:00Z"])
def test_a_withdrawal_dated_before_the_permission_names_it_everywhere(
    client: TestClient, metrics_registry: CollectorRegistry, occurred_at: str
) -> None:
    """The second is the daily form: 10 o'clock local time sent as Z from west of UTC, hours before it was."""
    grant = sent(client, GRANT)
    assert grant["effect"] == "in_effect"
    assert "superseded_by" not in grant
    lost = sent(client, {**WITHDRAWAL, "occurred_at": occurred_at})
    assert len(lost["addresses"]) == 1
    superseded = {
        "effect": "superseded",
        "superseded_by": grant["decision_id"],
        "superseded_since": "2026-01-05T09:00:00Z",
    }
    assert superseded.items() <= lost.items()
    explanation = explained(client)
    assert explanation["verdict"]["permitted"]
    (other,) = explanation["others"]
    assert other["decision_id"] == lost["decision_id"]
    assert superseded.items() <= other.items()
    receipts = client.get(f"/v1/decisions/{lost['decision_id']}/receipts").json()
    assert superseded.items() <= receipts.items()
    assert client.get(f"/v1/decisions/{grant['decision_id']}/receipts").json()["effect"] == "in_effect"
    labels = {"class": "live", "choice": "refusal", "effect": "superseded"}
    assert metrics_registry.get_sample_value("consent_relay_api_without_effect_total", labels) == 1


def codes(answer: dict[str, Any]) -> list[str]:
    assert all(each["message"] for each in answer.get("warnings", []))
    return [each["code"] for each in answer.get("warnings", [])]


def test_warnings_say_what_to_look_at(client: TestClient) -> None:
    grant = sent(client, GRANT)
    assert codes(grant) == []
    assert grant["effective_at"] == "2026-01-05T09:00:00Z"
    late = sent(client, {**WITHDRAWAL, "occurred_at": "2025-01-01T00:00:00Z"})
    assert (codes(late), late["effective_at"]) == (["superseded"], "2025-01-01T00:00:00Z")
    assert codes(sent(client, {**WITHDRAWAL, "subject_ref": "s1", "channel": "email"})) == ["no_address"]
    misspelt = {**WITHDRAWAL, "subject_ref": "s-one", "event_id": "e7"}
    assert codes(sent(client, misspelt)) == ["unknown_reference"]
    assert codes(sent(client, misspelt)) == ["no_address"], "by then it is known"
    batch = client.post(BATCH, json={"decisions": [GRANT, {**WITHDRAWAL, "subject_ref": "s2"}]}, headers=KEY)
    assert [codes(each) for each in batch.json()["results"]] == [[], ["unknown_reference"]]


def test_a_withdrawal_that_counts_is_in_effect_and_the_permission_no_longer(client: TestClient) -> None:
    grant = sent(client, GRANT)
    refusal = sent(client, WITHDRAWAL)
    assert refusal["effect"] == "in_effect"
    receipts = client.get(f"/v1/decisions/{grant['decision_id']}/receipts").json()
    assert (receipts["effect"], receipts["superseded_by"]) == ("superseded", refusal["decision_id"])


def test_a_withdrawal_that_reaches_no_address_says_so_until_one_is_linked(
    client: TestClient, metrics_registry: CollectorRegistry
) -> None:
    event = {**WITHDRAWAL, "event_id": "e1"}
    assert sent(client, event)["effect"] == "no_address"
    labels = {"class": "live", "choice": "refusal", "effect": "no_address"}
    assert metrics_registry.get_sample_value("consent_relay_api_without_effect_total", labels) == 1
    client.put("/v1/subjects/s1/addresses", json={"addresses": [{"channel": "sms", "address": A}]})
    again = sent(client, event)
    assert (again["outcome"], again["effect"]) == ("repeated", "in_effect")
    assert len(again["addresses"]) == 1


def test_a_repetition_is_answered_with_the_effect_now(client: TestClient) -> None:
    withdrawal = {**WITHDRAWAL, "event_id": "e1", "occurred_at": ago(hours=2)}
    sent(client, {**GRANT, "occurred_at": ago(days=9)})
    assert sent(client, withdrawal)["effect"] == "in_effect"
    grant = sent(client, {**GRANT, "occurred_at": ago(hours=1)})
    again = sent(client, withdrawal)
    assert (again["outcome"], again["effect"], again["superseded_by"]) == (
        "repeated",
        "superseded",
        grant["decision_id"],
    )


def test_a_batch_answers_with_the_effect_of_each_once_all_are_recorded(client: TestClient) -> None:
    body = {
        "decisions": [
            {**WITHDRAWAL, "address": A, "occurred_at": ago(hours=3)},
            {**GRANT, "occurred_at": ago(hours=2)},
            {**WITHDRAWAL, "purpose": "*", "occurred_at": ago(hours=4)},
            {**WITHDRAWAL, "subject_ref": "s2", "address": B},
            {**WITHDRAWAL, "subject_ref": "s3"},
            7,
        ]
    }
    results = post(client, body, BATCH).json()["results"]
    assert [each.get("effect") for each in results] == [
        "superseded",
        "in_effect",
        "superseded",
        "in_effect",
        "no_address",
        None,
    ]
    assert {each["superseded_by"] for each in (results[0], results[2])} == {results[1]["decision_id"]}


@pytest.mark.parametrize("purpose", ["newsletter", "*"])
def test_an_earlier_stop_is_superseded_by_a_later_grant(client: TestClient, purpose: str) -> None:
    grant = sent(client, {**GRANT, "occurred_at": ago(hours=1)})
    stop = {"address": A, "channel": "sms", "purpose": purpose, "status": "withdrawn"}
    lost = sent(client, {**stop, "occurred_at": ago(hours=2)})
    assert (lost["effect"], lost["superseded_by"]) == ("superseded", grant["decision_id"])
    assert sent(client, stop)["effect"] == "in_effect"


def test_a_permission_names_what_forbids(client: TestClient) -> None:
    refused = sent(client, {**WITHDRAWAL, "address": A, "occurred_at": ago(hours=1)})
    late = sent(client, {**GRANT, "occurred_at": ago(hours=2)})
    assert (late["effect"], late["superseded_by"]) == ("superseded", refused["decision_id"])
    other = sent(client, {**GRANT, "subject_ref": "s2", "occurred_at": ago(minutes=5)})
    assert (other["effect"], other["superseded_by"]) == ("superseded", refused["decision_id"])
    ended = sent(client, {**GRANT, "subject_ref": "s3", "address": B, "expires_at": "2026-02-01T00:00:00Z"})
    assert (ended["effect"], ended["superseded_by"]) == ("superseded", ended["decision_id"])
    assert ended["superseded_since"] == "2026-02-01T00:00:00Z"


def test_explain_lists_decisions_that_lost_even_behind_many(client: TestClient) -> None:
    for number in range(5):
        sent(client, {**GRANT, "occurred_at": f"2026-01-0{number + 1}T00:00:00Z"})
    lost = sent(client, {**WITHDRAWAL, "occurred_at": "2025-06-01T00:00:00Z"})
    (other,) = explained(client)["others"]
    assert other["decision_id"] == lost["decision_id"]


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def listen(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", listen)


def reads(seen: list[str]) -> int:
    return sum("DISTINCT ON (r.address_id" in each for each in seen)


@pytest.mark.parametrize("number", [1, 50])
def test_a_new_address_costs_no_statement_and_known_ones_a_single_one(
    ledger: Ledger, engine: Engine, number: int
) -> None:
    batch = [decision(address=f"+33639{980_000 + each}") for each in range(number)]
    # A purpose is recorded at its first decision, found at the next, and not asked for any more.
    for expected, all_statements in ((0, 9), (1, 5), (1, 4)):
        with statements(engine) as seen:
            assert {each.outcome.effect for each in recorded(ledger, batch)} == {Effect.IN_EFFECT}
        assert reads(seen) == expected
        assert len(seen) == all_statements


def recorded(ledger: Ledger, accepted: list[ValidDecision], lane: Lane = Lane.LIVE) -> list[RecordedDecision]:
    outcomes = ledger.record(accepted, lane=lane)
    assert all(isinstance(each, RecordedDecision) for each in outcomes)
    return [each for each in outcomes if isinstance(each, RecordedDecision)]


def test_an_address_with_a_long_history_costs_a_withdrawal_nothing(ledger: Ledger, engine: Engine) -> None:
    """What is older than the withdrawal is not read."""
    grants = [decision("given", subject_ref="s1", address=A, event_id=f"e{each}") for each in range(300)]
    recorded(ledger, [replace(each, effective_at=each.effective_at - YEAR) for each in grants])
    rows: list[int] = []

    def listen(_c: object, cursor: Any, statement: str, *_: object) -> None:
        if "DISTINCT ON (r.address_id" in statement:
            rows.append(cursor.rowcount)

    event.listen(engine, "after_cursor_execute", listen)
    (outcome,) = recorded(ledger, [decision(subject_ref="s1")])
    event.remove(engine, "after_cursor_execute", listen)
    assert outcome.outcome.effect is Effect.IN_EFFECT
    assert rows == [0]


def test_an_address_that_many_share_costs_a_withdrawal_nothing(ledger: Ledger, engine: Engine) -> None:
    """Of a subject's refusal only the subject's own decisions are read; of a new subject's none."""
    recorded(ledger, [decision("given", subject_ref=f"s{each}", address=A) for each in range(300)])
    earlier = decision().effective_at - YEAR
    with statements(engine) as seen:
        recorded(ledger, [decision(subject_ref="new", address=A, effective_at=earlier)])
    assert reads(seen) == 0
    rows: list[int] = []
    event.listen(
        engine,
        "after_cursor_execute",
        lambda _c, cursor, statement, *_: rows.append(cursor.rowcount) if reads([statement]) else None,
    )
    (lost,) = recorded(ledger, [decision(subject_ref="s7", effective_at=earlier)])
    assert lost.outcome.effect is Effect.SUPERSEDED
    assert rows == [1]


class TestRaces:
    """While a permission is being recorded, an older refusal comes."""

    @pytest.fixture
    def permission(self) -> ValidDecision:
        now = decision().recorded_at
        return decision("given", subject_ref="s1", address=A, effective_at=now - 60_000_000)

    def _refused_meanwhile(
        self, ledger: Ledger, engine: Engine, permission: ValidDecision, refusal: ValidDecision
    ) -> tuple[RecordedDecision, RecordedDecision]:
        with ThreadPoolExecutor(1) as pool, engine.connect() as open_transaction:
            lanes.limit(open_transaction, Lane.BULK)
            (given,) = recording.record(open_transaction, ledger.context, [permission], lane=Lane.BULK)
            later: Future[list[RecordedDecision]] = pool.submit(recorded, ledger, [refusal])
            until(lambda: _waiting(engine) or later.done())
            open_transaction.commit()
            (refused,) = later.result(timeout=30)
        assert isinstance(given, RecordedDecision)
        return given, refused

    @pytest.mark.parametrize("subject_ref", ["s1", None])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_refusal_never_claims_to_be_in_effect_beside_it(
        self, ledger: Ledger, engine: Engine, permission: ValidDecision, subject_ref: str | None, known: bool
    ) -> None:
        if known:
            recorded(ledger, [decision("given", subject_ref="s1", address=A, effective_at=1, purpose="survey")])
        refusal = decision(subject_ref=subject_ref, address=A, effective_at=permission.effective_at - 3_600_000_000)
        given, refused = self._refused_meanwhile(ledger, engine, permission, refusal)
        assert refused.outcome.effect is Effect.SUPERSEDED
        assert refused.outcome.superseded_by == given.decision_id


def _waiting(engine: Engine) -> bool:
    with engine.connect() as connection:
        query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        return bool(connection.execute(text(query)).scalar_one())


def effects(ledger: Ledger, *batch: ValidDecision) -> list[tuple[Effect, bool]]:
    recorded = ledger.record(batch)
    return [(each.outcome.effect, each.without_effect) for each in recorded if isinstance(each, RecordedDecision)]


def dated(ledger: Ledger, status: str = "withdrawn", *, seconds_ago: float, **given: object) -> ValidDecision:
    now = ledger.now()
    moment = now - int(seconds_ago * 1_000_000)
    return decision(status, effective_at=moment, recorded_at=now, **given)


def test_what_was_read_since_a_moment_is_read_again_for_what_is_older(ledger: Ledger) -> None:
    """A batch that reads an address for a refusal of yesterday, and learns only then that a permission reaches it."""
    long_ago = ledger.now() - 9_000_000_000
    ledger.record([decision(subject_ref="s2", address=A, effective_at=long_ago, recorded_at=long_ago)])
    assert effects(
        ledger,
        dated(ledger, seconds_ago=60, address=A, purpose="survey"),
        dated(ledger, seconds_ago=60, subject_ref="s1", address=A, purpose="survey"),
        dated(ledger, "given", seconds_ago=30, subject_ref="s1"),
    ) == [(Effect.IN_EFFECT, False), (Effect.IN_EFFECT, False), (Effect.SUPERSEDED, True)]


def test_a_choice_that_its_person_changes_in_the_same_batch_had_an_effect(ledger: Ledger) -> None:
    """The last is recorded after the first, although it is in the ledger when the first is evaluated: that it reaches
    the other form of the number shows only then."""
    ledger.record([dated(ledger, seconds_ago=9_000, subject_ref="s2", address="+5491155551234", purpose="survey")])
    assert effects(
        ledger,
        dated(ledger, seconds_ago=60, address="+541155551234"),
        dated(ledger, seconds_ago=60, subject_ref="s1", address="+5491155551234", purpose="survey"),
        dated(ledger, "given", seconds_ago=30, subject_ref="s1"),
    )[0] == (Effect.SUPERSEDED, False)


@pytest.mark.parametrize("stated", [False, True])
def test_a_superseded_event_that_comes_again_without_a_time_may_be_a_new_choice(ledger: Ledger, stated: bool) -> None:
    """A system that sends a person's number as event_id: by Kafka no sender would hear that the second withdrawal is
    taken for the first. With its time it cannot be a new one."""
    moment = ledger.now() - 60_000_000
    first = decision(effective_at=moment, recorded_at=moment, event_id="1001", subject_ref="s1", address=A)
    assert effects(ledger, replace(first, recorded_at=moment + stated)) == [(Effect.IN_EFFECT, False)]
    ledger.record([dated(ledger, "given", seconds_ago=30, subject_ref="s1", address=A)])
    again = replace(first, recorded_at=ledger.now(), effective_at=moment if stated else ledger.now())
    again = again if stated else replace(again, recorded_at=again.effective_at)
    assert effects(ledger, again) == [(Effect.SUPERSEDED, not stated)]
