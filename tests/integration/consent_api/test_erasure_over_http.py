"""Erasures and legal holds over HTTP and by command. # R33"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import URL, Engine

from consent_api.cli.rights import rights as command
from consent_api.http import app
from consent_api.ledger.ledger import Ledger
from consent_contracts.codec import Codec
from consent_service.clock import now_micros
from tests.integration.consent_api.accepted import EVIDENCE_TEXTS
from tests.integration.consent_api.erasure_rig import ErasureRig

ADDRESS, REF = "+33639987711", "customer-4711"
WHO = {"subject_ref": REF}


@pytest.fixture
def rig(ledger: Ledger, owner_engine: Engine, codec: Codec) -> ErasureRig:
    rig = ErasureRig(ledger=ledger, owner=owner_engine, codec=codec)
    rig.record("given", address=ADDRESS, subject_ref=REF, purpose="survey", evidence=EVIDENCE_TEXTS)
    return rig


def test_an_erasure_is_previewed_begun_and_certified(client: TestClient, rig: ErasureRig) -> None:
    preview = client.post("/v1/rights/erasures", json=WHO | {"dry_run": True})
    assert preview.status_code == 200, preview.text
    listed = preview.json()["certificate"]
    assert {"what": "the subject's reference", "count": 1} in listed["goes"]
    assert all(each["ground"] for each in listed["stays"])
    opened = client.post(
        "/v1/rights/requests",
        json=WHO | {"kind": "erasure", "identity_note": "passport seen at the counter"},
        headers={"Idempotency-Key": str(uuid4())},
    ).json()
    begun = client.post("/v1/rights/erasures", json=WHO | {"request_id": opened["request_id"]})
    assert begun.status_code == 202, begun.text
    again = client.post("/v1/rights/erasures", json={"channel": "sms", "address": ADDRESS})
    assert again.json()["erasure_id"] == begun.json()["erasure_id"]
    where = f"/v1/rights/erasures/{begun.json()['erasure_id']}"
    assert client.get(where).json()["state"] == begun.json()["state"] == "notifying"
    assert rig.verdict(ADDRESS).reason == "objected", "refused with the answer, and not at the eraser's next turn"
    with rig.owner.begin() as connection:
        connection.exec_driver_sql("UPDATE erasures SET notify_until = 0")
    rig.finish(rig.begin(subject_ref=REF))
    ended = client.get(where).json()
    assert ended["state"] == "ended"
    assert ended["certificate"]["destinations"] == {}
    resolved = client.get(f"/v1/rights/requests/{opened['request_id']}").json()
    assert resolved["state"] == "done"
    assert "person" not in resolved
    assert resolved["certificate"]["goes"]
    refused = client.post(
        "/v1/decisions",
        json={
            "event_id": str(uuid4()),
            "channel": "sms",
            "address": ADDRESS,
            "purpose": "survey",
            "status": "given",
            "occurred_at": "2026-01-01T00:00:00Z",
            "expires_at": "2030-01-01T00:00:00Z",
            "evidence": EVIDENCE_TEXTS,
        },
        headers={"Idempotency-Key": str(uuid4())},
    )
    assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (422, "erased")
    assert client.post("/v1/rights/erasures", json={"subject_ref": "customer-9"}).status_code == 404


def open_request(client: TestClient, who: dict[str, str]) -> str:
    body = who | {"kind": "erasure", "identity_note": "passport seen at the counter"}
    opened = client.post("/v1/rights/requests", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert opened.status_code == 201, opened.text
    return str(opened.json()["request_id"])


def test_an_erasure_resolves_every_open_request_for_it_with_the_same_certificate(
    client: TestClient, rig: ErasureRig
) -> None:
    by_address = {"channel": "sms", "address": ADDRESS}
    named, other, address_alone = (open_request(client, who) for who in (WHO, WHO, by_address))
    # Of a person whose reference the erasure does not know: it does not do all that this one asks for.
    neighbour = open_request(client, {"subject_ref": "customer-9", **by_address})

    def shown(request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/v1/rights/requests/{request_id}").json()
        return found

    begun = client.post("/v1/rights/erasures", json=WHO | {"request_id": named}).json()
    for each in (named, other, address_alone):
        assert (shown(each)["state"], shown(each)["erasure_id"]) == ("open", begun["erasure_id"])
    assert "erasure_id" not in shown(neighbour)
    meanwhile = open_request(client, WHO)
    rig.finish(rig.begin(subject_ref=REF))
    certificates = []
    for each in (named, other, address_alone, meanwhile):
        assert (shown(each)["state"], "person" in shown(each)) == ("done", False)
        certificates.append(shown(each)["certificate"])
    assert certificates == [certificates[0]] * 4
    assert (shown(neighbour)["state"], shown(neighbour)["person"]) == ("open", {"subject_ref": "customer-9"}), (
        "theirs still to be answered, without the address that is erased"
    )
    # One that is opened afterwards is answered by the erasure that has been.
    late = open_request(client, WHO)
    again = client.post("/v1/rights/erasures", json=WHO | {"request_id": late}).json()
    assert again["erasure_id"] == begun["erasure_id"]
    assert (shown(late)["state"], shown(late)["certificate"]) == ("done", certificates[0])


def test_an_erasure_ends_though_its_request_was_answered_meanwhile(client: TestClient, rig: ErasureRig) -> None:
    request_id = open_request(client, WHO)
    begun = client.post("/v1/rights/erasures", json=WHO | {"request_id": request_id}).json()
    answer = {"state": "refused", "reason": "answered by mistake"}
    assert client.post(f"/v1/rights/requests/{request_id}/resolve", json=answer).status_code == 200
    rig.finish(rig.begin(subject_ref=REF))
    assert client.get(f"/v1/rights/erasures/{begun['erasure_id']}").json()["state"] == "ended"
    assert client.get(f"/v1/rights/requests/{request_id}").json()["state"] == "refused"


def test_a_hold_that_comes_after_an_erasure_began_is_refused(client: TestClient, rig: ErasureRig) -> None:
    by_address = {"channel": "sms", "address": ADDRESS}
    assert client.post("/v1/rights/erasures", json=by_address).status_code == 202
    for who in (by_address, WHO, WHO | by_address):
        refused = client.post("/v1/rights/holds", json=who | {"reason": "dispute 118"})
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:consent-relay:problem:erasure-begun")
        assert re.search(r"began on 20\S+T\S+Z: it cannot be held", refused.json()["detail"])
    assert client.get("/v1/rights/holds").json()["holds"] == []
    other = client.post("/v1/rights/holds", json={"subject_ref": "customer-9", "reason": "dispute 119"})
    assert other.status_code == 201
    rig.finish(rig.begin(channel="sms", address=ADDRESS))
    assert client.post("/v1/rights/holds", json=WHO | {"reason": "dispute 118"}).status_code == 201


def test_an_erased_person_is_not_linked_again(client: TestClient, rig: ErasureRig) -> None:
    where, addresses = f"/v1/subjects/{REF}/addresses", {"addresses": [{"channel": "sms", "address": "+33639987799"}]}
    begun = rig.begin(subject_ref=REF, notify_seconds=3600)
    meanwhile = client.put(where, json=addresses)
    assert meanwhile.status_code == 422
    assert meanwhile.json()["errors"][0] == {
        "field": "/subject_ref",
        "detail": "erasure_in_progress",
        "cure": meanwhile.json()["cure"],
    }
    with rig.owner.begin() as connection:
        connection.exec_driver_sql("UPDATE erasures SET notify_until = 0")
    rig.finish(begun)
    refused = client.put(where, json=addresses)
    assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (422, "erased")
    assert refused.json()["type"] == "urn:consent-relay:problem:erased-person"
    of_another = {"addresses": [addresses["addresses"][0], {"channel": "sms", "address": ADDRESS}]}
    named = client.put("/v1/subjects/customer-9/addresses", json=of_another)
    assert [each["field"] for each in named.json()["errors"]] == ["/addresses/1"]
    assert rig.found_in(REF, ADDRESS, "+33639987799", "customer-9") == []
    # The person gives a permission, and is a person like others.
    now = now_micros() + 10_000_000
    since = {"effective_at": now, "recorded_at": now + 1_000_000}
    rig.record("given", address=ADDRESS, subject_ref=REF, purpose="survey", evidence=EVIDENCE_TEXTS, **since)
    assert client.put(where, json=addresses).status_code == 200


def test_a_hold_refuses_and_is_released(client: TestClient, rig: ErasureRig) -> None:
    held = client.post("/v1/rights/holds", json=WHO | {"reason": "dispute 118", "until": "2099-01-01T00:00:00Z"})
    assert held.status_code == 201, held.text
    refused = client.post("/v1/rights/erasures", json=WHO)
    assert (refused.status_code, "dispute 118" in refused.text) == (409, True)
    assert [each["hold_id"] for each in client.get("/v1/rights/holds").json()["holds"]] == [held.json()["hold_id"]]
    where = f"/v1/rights/holds/{held.json()['hold_id']}"
    assert client.delete(where).status_code == 200
    assert client.delete(where).status_code == 404
    assert client.post("/v1/rights/erasures", json=WHO).status_code == 202
    for reason in ("", f"of {ADDRESS}"):
        assert client.post("/v1/rights/holds", json=WHO | {"reason": reason}).status_code == 422
    ended = client.post("/v1/rights/holds", json=WHO | {"reason": "dispute 118", "until": "2020-01-01T00:00:00Z"})
    assert (ended.status_code, ended.json()["field"]) == (422, "/until")


def test_the_commands_do_the_same(
    rig: ErasureRig, service: URL, keyring_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", service.render_as_string(hide_password=False))
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(keyring_file))
    monkeypatch.setattr(app, "connect_ledger", lambda _, **__: rig.ledger)

    def run(*words: str, code: int = 0, typed: str = "") -> str:
        result = CliRunner().invoke(command, [*words], input=typed)
        assert result.exit_code == code, result.output
        return result.output

    who = ("--subject-ref", REF, "--by", "ann")
    assert "standard input has no new address: write it as line 2" in run(
        "rectify", *who, "--channel", "sms", code=1, typed=f"{ADDRESS}\n"
    )
    rectified = run("rectify", *who, "--channel", "sms", typed=f"{ADDRESS}\n+33639987722\n")
    assert "0 refusal(s) went with the person" in rectified
    assert "stays: 1 an objection to everything" in run("erase", *who, "--dry-run")
    hold_id = run("hold", *who, "--reason", "dispute 118").strip()
    assert "dispute 118" in run("erase", *who, code=1)
    assert hold_id in run("holds")
    assert "/until" in run("hold", *who, "--reason", "dispute 118", "--until", "2020-01-01", code=1)
    assert "--by" in run("release", hold_id, "--by", ADDRESS, code=1)
    run("release", hold_id, "--by", "ann")
    begun = run("erase", *who)
    assert "state: notifying" in begun
    erasure_id = begun.split()[1]
    with rig.owner.begin() as connection:
        connection.exec_driver_sql("UPDATE erasures SET notify_until = 0")
    rig.finish(rig.begin(subject_ref=REF))
    assert "state: ended" in run("erasure", erasure_id)
