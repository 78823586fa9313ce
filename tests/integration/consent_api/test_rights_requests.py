"""Requests by which persons exercise their rights: opened, listed, extended, resolved; and who did it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, text

from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_api.rights import audit as audit_entries
from consent_api.rights import requests
from consent_api.rights.metrics import RightsMetrics
from consent_api.rights.monitor import RequestMonitor
from consent_api.rights.person_ref import PersonRef
from consent_api.rights.requests import Identity, Kind, NewRequest, State
from consent_service.clock import now_micros

DAY = 24 * 3600 * 1_000_000
REQUESTS = "/v1/rights/requests"
ANN = {"channel": "email", "address": "Ann@Example.com"}
NOTE = "passport seen at the counter"


def opened(client: TestClient, kind: str = "access", *, key: str | None = None, **given: Any) -> Any:
    body = {"kind": kind, "identity_note": NOTE, **(given or ANN)}
    return client.post(REQUESTS, json=body, headers={"Idempotency-Key": key or str(uuid4())})


def in_ledger(connection: Connection, ledger: Ledger, *, at: int, kind: Kind = Kind.ACCESS) -> str:
    person = PersonRef(tenant="acme", subject_ref="s1")
    new = NewRequest(person=person, kind=kind, identity=Identity.LINK, identity_note=None, by="person")
    return requests.open_request(connection, ledger.context.keyring, ledger.context.ids, new, now=at).request_id


def audit(engine: Engine) -> list[tuple[str, str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT who, act, object_id FROM audit_entries ORDER BY entry_id"))
        return [(row.who, row.act, row.object_id) for row in rows]


def test_a_request_is_opened_once_and_holds_no_clear_person(client: TestClient, owner_engine: Engine) -> None:  # R13
    key = str(uuid4())
    answer = opened(client, key=key, subject_ref="customer-9", **ANN)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["state"], found["overdue"], found["identity_note"]) == ("open", False, NOTE)
    assert "person" not in found
    begin, due = (datetime.fromisoformat(found[name]) for name in ("opened_at", "due_at"))
    assert 28 <= (due - begin).days <= 31
    assert opened(client, key=key, subject_ref="customer-9", **ANN).json() == found
    with owner_engine.connect() as connection:
        bodies = "SELECT convert_from(body, 'UTF8') FROM idempotency_keys"
        for select in ("SELECT t::text FROM rights_requests t", "SELECT t::text FROM audit_entries t", bodies):
            rows = connection.execute(text(select))
            stored = " ".join(str(row) for row in rows)
            assert stored
            assert "ann" not in stored.lower().replace("channel", "")
            assert "customer-9" not in stored
    shown = client.get(f"{REQUESTS}/{found['request_id']}").json()
    assert shown["person"] == {"subject_ref": "customer-9", "channel": "email", "address": "ann@example.com"}
    [(who, act, object_id)] = audit(owner_engine)
    assert who.startswith("key:")
    assert (act, object_id) == ("request_opened", found["request_id"])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"channel": "email"}, "/address"),
        ({"address": "ann@example.com"}, "/channel"),
        ({"identity_note": NOTE}, "/subject_ref"),
        ({"subject_ref": "ann@example.com"}, "/subject_ref"),
        ({**ANN, "identity_note": " "}, "/identity_note"),
        ({**ANN, "identity_note": "wrote from ann@example.com"}, "/identity_note"),
        ({"channel": "email", "address": "no address"}, "/address"),
        ({**ANN, "kind": "forgetting"}, "/kind"),
    ],
)
def test_what_cannot_be_opened_names_its_field(
    client: TestClient, owner_engine: Engine, given: dict[str, str], field: str
) -> None:
    answer = opened(client, **given)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert "ann" not in answer.text.lower().replace("channel", "")
    assert audit(owner_engine) == []


def test_the_list_has_the_open_ones_first_by_due_date_page_by_page(
    client: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "PAGE", 2)
    now = now_micros()
    with ledger.engine.begin() as connection:
        ids = [in_ledger(connection, ledger, at=now - days * DAY) for days in (1, 50, 10, 40, 20)]
    assert client.post(f"{REQUESTS}/{ids[1]}/resolve", json={"state": "done"}).status_code == 200
    found: list[str] = []
    after = None
    for _ in range(4):
        page = client.get(REQUESTS, params={"after": after} if after else {}).json()
        found += [each["request_id"] for each in page["requests"]]
        after = page.get("more_after")
        if after is None:
            break
    assert found == [ids[3], ids[4], ids[2], ids[0], ids[1]]
    overdue = {each["request_id"]: each["overdue"] for each in client.get(REQUESTS).json()["requests"]}
    assert overdue == {ids[3]: True, ids[4]: False}
    [done] = client.get(REQUESTS, params={"state": "done"}).json()["requests"]
    assert done["request_id"] == ids[1]
    assert client.get(REQUESTS, params={"after": "0.1.-"}).status_code == 422
    assert client.get(REQUESTS, params={"after": f"0.1.{'-' * 36}"}).status_code == 422
    assert client.get(REQUESTS, params={"state": "lost"}).status_code == 422


def test_a_request_is_extended_once_within_its_month(client: TestClient, ledger: Ledger, owner_engine: Engine) -> None:
    with ledger.engine.begin() as connection:
        late = in_ledger(connection, ledger, at=now_micros() - 40 * DAY)
    request_id = opened(client).json()["request_id"]
    first = client.post(f"{REQUESTS}/{request_id}/extend", json={"reason": "many systems"}).json()
    begin, due = (datetime.fromisoformat(first[name]) for name in ("opened_at", "due_at"))
    assert 87 <= (due - begin).days <= 93
    again = client.post(f"{REQUESTS}/{request_id}/extend", json={"reason": "many systems"})
    assert (again.status_code, again.json()) == (200, first)
    for other, reason in ((request_id, "other"), (late, "many systems")):
        answer = client.post(f"{REQUESTS}/{other}/extend", json={"reason": reason})
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "request-not-extendable")
    assert [act for _, act, _ in audit(owner_engine)] == ["request_opened", "request_opened", "request_extended"]


def test_a_request_is_resolved_once(client: TestClient, owner_engine: Engine) -> None:
    request_id = opened(client).json()["request_id"]
    assert client.post(f"{REQUESTS}/{request_id}/resolve", json={"state": "refused"}).status_code == 422
    refusal = {"state": "refused", "reason": "asked for last week"}
    first = client.post(f"{REQUESTS}/{request_id}/resolve", json=refusal)
    assert (first.json()["state"], first.json()["reason"]) == ("refused", "asked for last week")
    again = client.post(f"{REQUESTS}/{request_id}/resolve", json=refusal)
    assert (again.status_code, again.json()) == (200, first.json())
    assert client.post(f"{REQUESTS}/{request_id}/resolve", json={"state": "done"}).status_code == 409
    assert client.post(f"{REQUESTS}/{uuid4()}/resolve", json={"state": "done"}).status_code == 404
    assert [act for _, act, _ in audit(owner_engine)] == ["request_opened", "request_refused"]


def test_an_objection_is_in_force_when_it_is_answered(client: TestClient) -> None:
    opening = opened(client, "objection", **ANN).json()
    assert opening["state"] == "done"
    question = {"channel": "email", "address": "ann@example.com", "purpose": "newsletter"}
    verdict = client.post("/v1/explain", json=question).json()["verdict"]
    assert (verdict["permitted"], verdict["reason"]) == (False, "objected")
    assert opening["certificate"]["recorded"] == [verdict["decision_id"]]
    of_subject = opened(client, "objection", subject_ref="s7").json()
    assert len(of_subject["certificate"]["recorded"]) == 3


def test_the_scopes_are_apart(client: TestClient, owner_engine: Engine) -> None:
    def key(*scopes: str) -> dict[str, str]:
        with owner_engine.begin() as connection:
            token = key_store.create(connection, tenant="acme", scopes=scopes, name="t", now=now_micros())
        return {"Authorization": f"Bearer {token}"}

    reads, writes, other = key("rights:read"), key("rights:write"), key("read", "submit", "admin", "links")
    assert client.get(REQUESTS, headers=reads).status_code == 200
    for headers in (writes, other):
        assert client.get(REQUESTS, headers=headers).status_code == 403
    for headers in (reads, other):
        assert client.post("/v1/rights/access", json=ANN, headers=headers).status_code == 403
    assert client.post("/v1/rights/access", json=ANN, headers=writes).status_code == 200


def test_the_audit_is_read_newest_first_page_by_page(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_entries, "PAGE", 2)
    ids = [opened(client).json()["request_id"] for _ in range(3)]
    first = client.get("/v1/rights/audit").json()
    second = client.get("/v1/rights/audit", params={"before": first["more_before"]}).json()
    assert [each["object_id"] for each in first["entries"] + second["entries"]] == ids[::-1]
    assert "more_before" not in second
    assert {each["act"] for each in first["entries"]} == {"request_opened"}
    assert client.get("/v1/rights/audit", params={"before": "x"}).status_code == 422


def test_tenants_see_their_own_requests_alone(client: TestClient, ledger: Ledger, owner_engine: Engine) -> None:
    request_id = opened(client).json()["request_id"]
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE rights_requests SET tenant = 'other'"))
    assert client.get(f"{REQUESTS}/{request_id}").status_code == 404
    assert client.get(REQUESTS).json() == {"requests": []}
    assert client.post(f"{REQUESTS}/{request_id}/resolve", json={"state": "done"}).status_code == 404


def test_the_metrics_count_what_is_open_and_overdue(ledger: Ledger) -> None:
    registry = CollectorRegistry()
    metrics = RightsMetrics.on(registry)
    labels = {"kind": "erasure"}
    name = "consent_relay_rights_requests"
    assert registry.get_sample_value(f"{name}_overdue", labels) == 0
    with ledger.engine.begin() as connection:
        in_ledger(connection, ledger, at=now_micros() - 40 * DAY, kind=Kind.ERASURE)
        in_ledger(connection, ledger, at=now_micros() - DAY, kind=Kind.ERASURE)
    RequestMonitor(ledger, metrics).check()
    assert registry.get_sample_value(f"{name}_open", labels) == 2
    assert registry.get_sample_value(f"{name}_overdue", labels) == 1
    assert (registry.get_sample_value(f"{name}_oldest_age_seconds", labels) or 0) >= 40 * 24 * 3600
    assert registry.get_sample_value(f"{name}_open", {"kind": "access"}) == 0


def test_an_erased_person_leaves_the_request(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        request_id = in_ledger(connection, ledger, at=now_micros())
        keyring, person = ledger.context.keyring, PersonRef(tenant="acme", subject_ref="s1")
        assert [each.request_id for each in requests.of_person(connection, keyring, person)] == [request_id]
        assert requests.forget_person(connection, keyring, person) == 1
        assert requests.of_person(connection, keyring, person) == []
        [left] = requests.listed(connection, keyring, tenant="acme", state=State.OPEN)
        assert (left.request_id, left.person) == (request_id, None)


def test_of_too_many_requests_of_a_person_the_open_one_is_shown(ledger: Ledger) -> None:
    person, keyring = PersonRef(tenant="acme", subject_ref="s1"), ledger.context.keyring
    begun = now_micros()
    with ledger.engine.begin() as connection:
        waiting = in_ledger(connection, ledger, at=begun, kind=Kind.ERASURE)
        answered = [in_ledger(connection, ledger, at=begun + number) for number in range(1, requests.PAGE + 1)]
        for each in answered:
            requests.resolve(
                connection,
                keyring,
                tenant="acme",
                request_id=UUID(each),
                state=State.DONE,
                by="test",
                now=begun + 1_000,
            )
        shown = [each.request_id for each in requests.of_person(connection, keyring, person)]
        assert shown == [waiting, *answered[1:]], "the oldest first, without the oldest that is answered"
        assert len(requests.of_person(connection, keyring, person, most=1_000)) == requests.PAGE + 1
