"""An erasure in the whole system: what tools, list, gate and tables hold of the person afterwards. # R33"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from consent_contracts import Topics
from consent_contracts.codec import Codec
from local_stack.demo.upstreams import EVIDENCE
from local_stack.endpoints import Endpoints
from local_stack.stack import Stack
from tests.integration.system import hiding_places
from tests.support.topic_records import records
from tests.support.waiting import until

ADDRESS = "+33639986153"


@pytest.fixture
def client(system: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30, headers={"Authorization": f"Bearer {system.endpoints.api_key}"}) as client:
        yield client


def test_an_erased_person_is_nowhere_and_is_refused_everywhere(system: Stack, client: httpx.Client) -> None:
    endpoints, ref = system.endpoints, f"erased-{secrets.token_urlsafe(24)}"
    permission = {
        "channel": "sms",
        "address": ADDRESS,
        "purpose": "survey",
        "subject_ref": ref,
        "status": "given",
        "occurred_at": "2026-01-05T10:00:00Z",
        "expires_at": "2028-01-05T10:00:00Z",
        "evidence": EVIDENCE,
    }
    submit(client, endpoints, permission)
    until(lambda: gate(client, endpoints)["permitted"], what="the gate permits")
    entries = newest(endpoints)
    (key,) = (key for key, each in entries.items() if ref in {one["subject_ref"] for one in each["decisions"]})
    sealed = entries[key]["sealed_address"]
    assert sealed

    def in_both_stores() -> bool:
        submit(client, endpoints, permission)  # Each write may be the one that is flushed to the disk.
        return local_state(system, ref) == local_state(system, sealed) == {"suppression", "propagator"}

    until(in_both_stores, what="the search of the local stores finds what is there", every=1.0)

    begun = client.post(f"{endpoints.api}/v1/rights/erasures", json={"subject_ref": ref})
    assert begun.status_code == 202, begun.text
    where = f"{endpoints.api}/v1/rights/erasures/{begun.json()['erasure_id']}"
    until(lambda: "twilio-fr" in having_the_objection(endpoints), what="the tool has the objection")
    assert not gate(client, endpoints)["permitted"]

    def ended() -> Any:
        hurry(endpoints)
        found = client.get(where).json()
        return found if found["state"] == "ended" else None

    certificate = until(ended, what="the erasure ends")["certificate"]
    assert certificate["destinations"]["twilio-fr"] == "delivered"

    def erased() -> Any:
        entry = newest(endpoints)[key]
        return entry if entry["erased_at"] else None

    entry = until(erased, what="the list has the erasure")
    assert entry["sealed_address"] is None
    assert [(each["subject_ref"], each["status"]) for each in entry["decisions"]] == [(None, "objected")]
    hidden = [place.name for place in hiding_places.tables(endpoints) if found_in(place.content, ref, sealed)]
    assert hidden == []
    for topic in compacted(endpoints):
        last = {(each.partition(), each.key()): each.value() for each in records(endpoints.kafka, topic)}
        assert not [each for each in last.values() if each is not None and found_in(each, ref, sealed)], topic
    until(lambda: not local_state(system, ref, sealed), what="the local stores hold it no more", every=1.0)
    traces = (ref.encode(), sealed, ADDRESS.removeprefix("+").encode())
    logs = hiding_places.files(Path(endpoints.logs), but="sandbox")
    assert [place.name for place in logs if any(trace in place.content for trace in traces)] == []

    again = client.post(f"{endpoints.api}/v1/decisions", json=permission, headers={"Idempotency-Key": f'"{uuid4()}"'})
    assert (again.status_code, again.json()["errors"][0]["detail"]) == (422, "erased")
    assert not gate(client, endpoints)["permitted"]


def local_state(system: Stack, *hidden: str | bytes) -> set[str]:
    return hiding_places.local_state(system.directory / "state", *hidden)


def found_in(content: bytes, ref: str, sealed: bytes) -> bool:
    return ref.encode() in content or sealed in content


def submit(client: httpx.Client, endpoints: Endpoints, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": f'"{uuid4()}"'}
    answer = client.post(f"{endpoints.api}/v1/decisions", json=body, headers=headers)
    assert answer.status_code == 201, answer.text


def gate(client: httpx.Client, endpoints: Endpoints) -> dict[str, Any]:
    asked = {"channel": "sms", "purpose": "survey", "addresses": [ADDRESS]}
    answer = client.post(
        f"{endpoints.gate}/v1/check", json=asked, headers={"Authorization": f"Bearer {endpoints.check_key}"}
    )
    found: dict[str, Any] = answer.json()["results"][0]
    return found


def having_the_objection(endpoints: Endpoints) -> set[str]:
    """The tools that have accepted it."""
    with psycopg.connect(endpoints.database.replace("+psycopg", "", 1)) as connection:
        found = connection.execute(
            "SELECT r.destination FROM erasure_addresses e JOIN receipt_decisions d ON d.decision_id = e.objection"
            " JOIN receipts r USING (receipt_id) WHERE r.stage IN ('accepted', 'effective')"
        ).fetchall()
    return {destination for (destination,) in found}


def newest(endpoints: Endpoints) -> dict[str, dict[str, Any]]:
    """The newest entry of each address key."""
    topics = Topics(prefix=endpoints.topic_prefix)
    codec, topic = Codec.connect(endpoints.registry, topics), topics.suppression("sms")
    last = {each.key() or b"": each.value() for each in records(endpoints.kafka, topic)}
    return {key.decode(): codec.decode(topic, value) for key, value in last.items() if value is not None}


def compacted(endpoints: Endpoints) -> list[str]:
    topics = Topics(prefix=endpoints.topic_prefix)
    return [each.name for each in topics.specs() if each.config["cleanup.policy"] == "compact"]


def hurry(endpoints: Endpoints) -> None:
    """The tools had their time."""
    with psycopg.connect(endpoints.database.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("UPDATE erasures SET notify_until = 0, next_turn_at = 0")
