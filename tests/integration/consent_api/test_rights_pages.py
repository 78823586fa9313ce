"""A person's own pages: the proof of their permissions, their data, and their requests. # R32 R51"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_api.links.token import Link, LinkKind, Links
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.integration.consent_api.erasure_rig import ErasureRig
from tests.support.evidence import EVIDENCE
from tests.support.themes import CHANNELS, themes

EMAIL = "someone@example.com"


@pytest.fixture
def client(ledger: Ledger, metrics_registry: CollectorRegistry, api_key: str, tmp_path: Path) -> Iterator[TestClient]:
    """The API with a preference centre."""
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(metrics_registry, channels=CHANNELS),
        health=Health(),
        themes=themes(tmp_path),
        public_url="https://choices.example.com",
    )
    with TestClient(app, headers={"Authorization": f"Bearer {api_key}"}, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def person(client: TestClient) -> Iterator[TestClient]:
    """A browser, without credentials."""
    with TestClient(client.app, headers={"Accept-Language": "en"}) as person:
        yield person


@pytest.fixture
def path(ledger: Ledger) -> str:
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="email", address=EMAIL)
    return f"/p/{Links(lambda: ledger.context.keyring).token(of)}"


def hidden(page: Response) -> str:
    found = re.search(r'name="form" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def choose(person: TestClient, path: str, answer: str) -> None:
    fields = {"form": hidden(person.get(path)), "email.promotions": answer, "action": "save"}
    assert person.post(path, data=fields).status_code == 200


def ask(person: TestClient, path: str, kind: str) -> Response:
    return person.post(f"{path}/rights", data={"form": hidden(person.get(f"{path}/rights")), "kind": kind})


def acts(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT who, act FROM audit_entries ORDER BY entry_id"))
        return [(row.who, row.act) for row in rows]


def submit(client: TestClient, **given: object) -> None:
    times = {"occurred_at": rfc3339(now_micros()), "expires_at": "2999-01-01T00:00:00Z"}
    body = {"channel": "email", "purpose": "promotions", "status": "given", **times, "evidence": EVIDENCE, **given}
    answer = client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert answer.status_code == 201, answer.text


def permits(client: TestClient, address: str, purpose: str = "promotions", channel: str = "email") -> bool:
    question = {"channel": channel, "address": address, "purpose": purpose}
    return bool(client.post("/v1/explain", json=question).json()["verdict"]["permitted"])


def test_the_proof_shows_the_text_that_was_shown_also_after_withdrawal(
    client: TestClient, person: TestClient, path: str, owner_engine: Engine
) -> None:
    asked = person.get(path)
    choose(person, path, "on")
    choose(person, path, "off")
    found = person.get(f"{path}/proof")
    assert found.status_code == 200
    assert found.headers["cache-control"] == "no-store"
    assert "No longer in force" in found.text
    assert "May we write to you by e-mail?" in found.text
    assert "May we write to you by e-mail?" in asked.text
    assert "not kept here" not in found.text
    as_pdf = person.get(f"{path}/proof/pdf")
    assert (as_pdf.headers["content-type"], as_pdf.content[:5]) == ("application/pdf", b"%PDF-")
    # To be saved, as its button says: a viewer within the browser may be bound by the page's policy.
    assert as_pdf.headers["content-disposition"].startswith('attachment; filename="proof-')
    assert acts(owner_engine) == [("person", "proof_shown")] * 2
    submit(client, address=EMAIL, purpose="survey")
    assert "not kept here" in person.get(f"{path}/proof").text


@pytest.mark.parametrize("format_", ["json", "csv", "html", "pdf"])
def test_a_person_takes_their_data(
    client: TestClient, person: TestClient, path: str, format_: str, owner_engine: Engine
) -> None:
    submit(client, address=EMAIL, subject_ref="customer-4711", event_id="order-0815")
    submit(client, address="other@example.com")
    form = hidden(person.get(f"{path}/rights"))
    found = person.post(f"{path}/rights/data", data={"form": form, "format": format_})
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-store")
    assert f'.{format_}"' in found.headers["content-disposition"]
    if format_ == "json":
        assert [each["address"] for each in json.loads(found.content)["addresses"]] == [EMAIL]
        assert [each["status"] for each in json.loads(found.content)["decisions"]] == ["given"]
    # The link proves the address: its subject may be another one by now.
    for hidden_ in (b"other@example.com", b"customer-4711", b"order-0815"):
        assert hidden_ not in found.content
    assert acts(owner_engine) == [("person", "data_exported")]


def test_a_request_is_opened_once_and_shown(person: TestClient, path: str, owner_engine: Engine) -> None:
    first = ask(person, path, "erasure")
    assert "Your request has been received" in first.text
    again = ask(person, path, "erasure")
    assert acts(owner_engine) == [("person", "request_opened")]
    assert again.text.count("Answer by") == 2
    with owner_engine.connect() as connection:
        [row] = connection.execute(text("SELECT kind, identity, state, opened_by FROM rights_requests")).all()
    assert tuple(row) == ("erasure", "link", "open", "person")


def test_an_extension_is_shown_with_its_reason(client: TestClient, person: TestClient, path: str) -> None:
    ask(person, path, "access")
    [request] = client.get("/v1/rights/requests").json()["requests"]
    body = {"reason": "several systems have to be searched"}
    extended = client.post(f"/v1/rights/requests/{request['request_id']}/extend", json=body)
    assert extended.status_code == 200, extended.text
    assert "Extended by two months. Reason: several systems have to be searched" in person.get(f"{path}/rights").text


def test_an_objection_on_the_page_is_in_force_at_once(client: TestClient, person: TestClient, path: str) -> None:
    submit(client, address=EMAIL)
    assert "Done" in ask(person, path, "objection").text
    question = {"channel": "email", "address": EMAIL, "purpose": "promotions"}
    verdict = client.post("/v1/explain", json=question).json()["verdict"]
    assert (verdict["permitted"], verdict["reason"]) == (False, "objected")


@pytest.mark.parametrize("subject_ref", [None, "customer-4711"])
def test_an_objection_by_the_link_of_a_number_ends_messages_and_calls(
    client: TestClient, person: TestClient, ledger: Ledger, subject_ref: str | None
) -> None:
    number = "+33639980011"
    for channel in ("sms", "voice"):
        submit(client, address=number, channel=channel)
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="sms", address=number, subject_ref=subject_ref)
    path = f"/p/{Links(lambda: ledger.context.keyring).token(of)}"
    narrow = "to the address or number of this link"
    assert (narrow in person.get(f"{path}/rights").text) is (subject_ref is None)
    assert "Done" in ask(person, path, "objection").text
    for channel in ("sms", "voice"):
        question = {"channel": channel, "address": number, "purpose": "promotions"}
        verdict = client.post("/v1/explain", json=question).json()["verdict"]
        assert (verdict["permitted"], verdict["reason"]) == (False, "objected"), channel


def test_an_objection_on_a_channel_that_is_no_more_is_not_said_to_be_done(
    person: TestClient, ledger: Ledger, owner_engine: Engine
) -> None:
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="fax", address="+33639980011")
    answer = ask(person, f"/p/{Links(lambda: ledger.context.keyring).token(of)}", "objection")
    assert (answer.status_code, "Nothing was changed" in answer.text) == (503, True)
    assert acts(owner_engine) == []


@pytest.mark.parametrize("how", ["corrected", "unlinked"])
def test_a_link_of_an_address_that_has_left_its_person_is_that_of_the_address_alone(
    client: TestClient, person: TestClient, ledger: Ledger, owner_engine: Engine, how: str
) -> None:  # R14 R34
    wrong, right, ref = "typo@example.com", "right@example.com", "customer-4711"
    submit(client, address=wrong, subject_ref=ref)
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="email", address=wrong, subject_ref=ref)
    path = f"/p/{Links(lambda: ledger.context.keyring).token(of)}"
    form, page = hidden(person.get(f"{path}/rights")), hidden(person.get(path))
    if how == "corrected":
        body = {"channel": "email", "old_address": wrong, "new_address": right, "subject_ref": ref}
        assert client.post("/v1/rights/rectifications", json=body).status_code == 200
    else:
        gone = {"addresses": [{"channel": "email", "address": wrong}]}
        assert client.request("DELETE", f"/v1/subjects/{ref}/addresses", json=gone).status_code == 200
    submit(client, address=right, subject_ref=ref, purpose="survey")
    data = person.post(f"{path}/rights/data", data={"form": form, "format": "json"})
    for shown in (data, person.get(path), *(person.get(f"{path}/{below}") for below in ("history", "proof", "rights"))):
        assert shown.status_code == 200
        assert right not in shown.text
        assert ref not in shown.text
    assert person.post(path, data={"form": page, "email.promotions": "on"}).status_code in (200, 409)
    assert permits(client, right, "survey")
    with owner_engine.connect() as connection:
        linked = "SELECT count(*) FROM subject_addresses WHERE unlinked_at IS NULL"
        assert connection.execute(text(linked)).scalar_one() == 1


@pytest.mark.parametrize("how", ["refuse", "one", "pause", "objection"])
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_refusal_by_a_link_whose_address_has_left_its_person_reaches_both(
    client: TestClient, person: TestClient, ledger: Ledger, owner_engine: Engine, how: str, opened: str
) -> None:  # R14 R34
    wrong, right, ref, number = "typo@example.com", "right@example.com", "customer-4711", "+33639980011"
    submit(client, address=wrong, subject_ref=ref)
    submit(client, address=number, channel="sms", subject_ref=ref)
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="email", address=wrong, subject_ref=ref)
    path = f"/p/{Links(lambda: ledger.context.keyring).token(of)}"
    below = "/rights" if how == "objection" else ""
    form = hidden(person.get(path + below))
    body = {"channel": "email", "old_address": wrong, "new_address": right, "subject_ref": ref}
    assert client.post("/v1/rights/rectifications", json=body).status_code == 200
    submit(client, address=right, subject_ref=ref)
    submit(client, address=wrong)  # Of who has it now.
    if opened == "after":
        form = hidden(person.get(path + below))
    answers = {
        "refuse": {"action": "refuse"},
        "one": {"email.promotions": "off", "sms.promotions": "off"}
        if opened == "before"
        else {"email.promotions": "off"},
        "pause": {"email.promotions": "pause_30"},
        "objection": {"kind": "objection"},
    }[how]
    receipt = person.post(path + below, data={"form": form, **answers})
    assert receipt.status_code == 200
    for of_subject in (right, ref, number):
        assert of_subject not in receipt.text
    assert not permits(client, wrong)
    assert not permits(client, right)
    everywhere = how in ("refuse", "objection") or (how, opened) == ("one", "before")
    assert permits(client, number, channel="sms") is not everywhere
    with owner_engine.connect() as connection:
        linked = "SELECT count(*) FROM subject_addresses WHERE unlinked_at IS NULL"
        assert connection.execute(text(linked)).scalar_one() == 2
    assert right not in person.get(f"{path}/rights").text


@pytest.mark.parametrize("erased", ["address", "address that has come back", "subject that has come back"])
def test_an_erasure_opens_no_page_by_an_address_that_has_left(
    client: TestClient, person: TestClient, ledger: Ledger, owner_engine: Engine, codec: Codec, erased: str
) -> None:  # R14 R33
    wrong, right, ref = "typo@example.com", "right@example.com", "customer-4711"
    submit(client, address=wrong, subject_ref=ref)
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="email", address=wrong, subject_ref=ref)
    path = f"/p/{Links(lambda: ledger.context.keyring).token(of)}"
    body = {"channel": "email", "old_address": wrong, "new_address": right, "subject_ref": ref}
    assert client.post("/v1/rights/rectifications", json=body).status_code == 200
    rig = ErasureRig(ledger=ledger, owner=owner_engine, codec=codec)
    if erased.startswith("subject"):
        rig.erase(subject_ref=ref)
    else:
        rig.erase(channel="email", address=wrong)
    later = now_micros() + 10_000_000
    since = {"channel": "email", "effective_at": later, "recorded_at": later + 1_000_000, "evidence": EVIDENCE}
    rig.record("given", address=right, subject_ref=ref, purpose="survey", **since)
    if erased.startswith("address that"):
        rig.record("given", address=wrong, purpose="promotions", **since)
    form = hidden(person.get(f"{path}/rights"))
    data = person.post(f"{path}/rights/data", data={"form": form, "format": "json"})
    for shown in (data, person.get(path), *(person.get(f"{path}/{below}") for below in ("history", "proof", "rights"))):
        assert shown.status_code == 200
        assert right not in shown.text
        assert ref not in shown.text
    receipt = person.post(path, data={"form": hidden(person.get(path)), "action": "refuse"})
    assert (receipt.status_code, right in receipt.text) == (200, False)
    assert not permits(client, right, "survey")


def test_a_link_of_an_address_that_was_never_linked_is_that_of_its_subject(
    client: TestClient, person: TestClient, ledger: Ledger
) -> None:
    submit(client, address=EMAIL, subject_ref="customer-4711")
    number = "+33639980011"
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="sms", address=number, subject_ref="customer-4711")
    path = f"/p/{Links(lambda: ledger.context.keyring).token(of)}"
    assert 'name="email.promotions"' in person.get(path).text


def test_only_a_form_of_the_page_asks_for_anything(
    person: TestClient, path: str, ledger: Ledger, owner_engine: Engine
) -> None:
    form = hidden(person.get(f"{path}/rights"))
    of_other = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="email", address="other@example.com")
    other = f"/p/{Links(lambda: ledger.context.keyring).token(of_other)}"
    for target, fields, headers in (
        (path, {"kind": "erasure"}, {}),
        (path, {"form": hidden(person.get(path)), "kind": "erasure"}, {}),
        (other, {"form": form, "kind": "erasure"}, {}),
        (path, {"form": form, "kind": "everything"}, {}),
        (path, {"form": form, "kind": "erasure"}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert person.post(f"{target}/rights", data=fields, headers=headers).status_code == 403
        assert person.post(f"{target}/rights/data", data={**fields, "format": "x"}, headers=headers).status_code == 403
    for below in ("/rights", "/proof", "/proof/pdf"):
        assert person.get(f"{path}x{below}").status_code == 404
        assert person.head(f"{path}{below}").status_code == 200
    assert person.get(f"{path}/rights/data").status_code == 200
    assert {act for _, act in acts(owner_engine)} == {"proof_shown"}
