"""One-click links and the preference centre, over HTTP and into the ledger. # R5 R7 R19 R20"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Engine, text

from consent_api.domain.validation import EVIDENCE, ValidationRules
from consent_api.errors import LedgerUnavailableError
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_api.links.pauses import PauseEnder
from consent_api.links.theme import Themes, not_known
from consent_api.links.token import Link, LinkKind, Links
from consent_contracts.cloudevents import rfc3339
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.support.themes import CHANNELS, selling, themes

PUBLIC_URL = "https://choices.example.com"
EMAIL, PHONE = "someone@example.com", "+33639980011"
NO_SETTING = "voicemail"
"""A channel of the installation that the page asks nothing about."""
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
GPC = {"Sec-GPC": "1"}
SECOND = 1_000_000


def instance(ledger: Ledger, registry: CollectorRegistry, themes: Themes) -> FastAPI:
    """One process of the API."""
    return create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=(*CHANNELS, NO_SETTING), default_region="FR"),
        metrics=ApiMetrics.on(registry, channels=(*CHANNELS, NO_SETTING)),
        health=Health(),
        themes=themes,
        public_url=PUBLIC_URL,
    )


@pytest.fixture
def client(ledger: Ledger, metrics_registry: CollectorRegistry, api_key: str, tmp_path: Path) -> Iterator[TestClient]:
    """The API with a preference centre."""
    app = instance(ledger, metrics_registry, selling(themes(tmp_path)))
    with TestClient(app, headers={"Authorization": f"Bearer {api_key}"}, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def restarted(client: TestClient, ledger: Ledger, api_key: str) -> Iterator[TestClient]:
    """Another instance, which has read a theme file in which the tenant's entry is wrong."""
    app = instance(ledger, CollectorRegistry(), {"acme": not_known("acme")})
    headers = {"Authorization": f"Bearer {api_key}", "Accept-Language": "en"}
    with TestClient(app, headers=headers, raise_server_exceptions=False) as restarted:
        yield restarted


@pytest.fixture
def person(client: TestClient) -> Iterator[TestClient]:
    """A browser or a mail provider, without credentials."""
    with TestClient(client.app, headers={"Accept-Language": "en"}) as person:
        yield person


@pytest.fixture
def full(ledger: Ledger, api_key: str, tmp_path: Path) -> Iterator[TestClient]:
    """The API of an installation in which a subject has two addresses at most."""
    small = Ledger(engine=ledger.engine, context=replace(ledger.context, most_addresses=2))
    headers = {"Authorization": f"Bearer {api_key}", "Accept-Language": "en"}
    theme = themes(tmp_path)["acme"]
    everywhere = {"channels": ["email", "sms", "voice"], "sale_or_share": True}
    sold = replace(theme, purposes=tuple(each.model_copy(update=everywhere) for each in theme.purposes))
    with TestClient(instance(small, CollectorRegistry(), {"acme": sold}), headers=headers) as full:
        yield full


def make(client: TestClient, **wanted: str) -> dict[str, Any]:
    response = client.post("/v1/links", json={"links": [wanted]})
    assert response.status_code == 200, response.text
    (found,) = response.json()["links"]
    return dict(found)


def unsubscribe_path(client: TestClient, purpose: str = "promotions", address: str = EMAIL) -> str:
    url: str = make(client, channel="email", address=address, purpose=purpose)["unsubscribe"]
    return url.removeprefix(PUBLIC_URL)


def preferences_path(client: TestClient, *, address: str = EMAIL, **more: str) -> str:
    url: str = make(client, channel="email", address=address, **more)["preferences"]
    return url.removeprefix(PUBLIC_URL)


def grant(client: TestClient, channel: str = "email", purpose: str = "promotions", **person: str) -> None:
    body = {
        "channel": channel,
        "purpose": purpose,
        "status": "given",
        "occurred_at": rfc3339(now_micros() - 3600 * SECOND),
        "expires_at": "2999-01-01T00:00:00Z",
        "evidence": {name: f"some {name}" for name in EVIDENCE},
        **person,
    }
    response = client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert response.status_code == 201, response.text


def permitted(client: TestClient, channel: str = "email", purpose: str = "promotions", address: str = EMAIL) -> bool:
    body = {"channel": channel, "purpose": purpose, "address": address}
    return bool(client.post("/v1/explain", json=body).json()["verdict"]["permitted"])


def recorded(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        query = "SELECT * FROM decisions ORDER BY recorded_at"
        return list(connection.execute(text(query)).all())


def form_of(page: str) -> str:
    found = re.search(r'name="form" value="([^"]+)"', page)
    assert found is not None
    return found[1]


HREF = re.compile(r'(?:href|action|src)="([^"]+)"')
SCANNER = {**GPC, "Sec-Fetch-Site": "none", "Accept-Language": "fr"}
"""As they come: without a session, with the headers of a browser."""


def test_scanners_that_follow_everything_on_the_pages_withdraw_nothing(
    person: TestClient, client: TestClient, engine: Engine
) -> None:
    wanted = [{"channel": "email", "address": f"u{i}@example.com", "purpose": "promotions"} for i in range(5)]
    made = client.post("/v1/links", json={"links": wanted}).json()["links"]
    waiting = [url.removeprefix(PUBLIC_URL) for each in made for url in (each["unsubscribe"], each["preferences"])]
    assert len(set(waiting)) == 10
    waiting += ["/p/", "/p/of/acme", "/p/of/acme/code", "/.well-known/gpc.json"]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.startswith("/"):
            continue
        seen.add(path)
        page, head = (
            person.request(method, path, headers=SCANNER, follow_redirects=False) for method in ("GET", "HEAD")
        )
        assert page.status_code == head.status_code, path
        assert page.status_code == 200, path
        assert "set-cookie" not in page.headers
        assert "<script" not in page.text
        waiting += [html.unescape(each) for each in HREF.findall(page.text)]  # Where forms lead to, too.
    assert any("/history" in path for path in seen)
    assert any("/accessibility" in path for path in seen)
    assert recorded(engine) == []


def test_a_look_at_one_click_links_does_not_even_reach_the_ledger(
    person: TestClient, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is the same for one mail and for 10,000."""
    wanted = [{"channel": "email", "address": f"u{i}@example.com", "purpose": "promotions"} for i in range(500)]
    made = client.post("/v1/links", json={"links": wanted}).json()["links"]
    monkeypatch.setattr(Ledger, "transact", MagicMock(side_effect=AssertionError("the ledger is asked")))
    for each in made[::20]:
        path = each["unsubscribe"].removeprefix(PUBLIC_URL)
        for method in ("GET", "HEAD"):
            assert person.request(method, path, headers=SCANNER).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"data": ONE_CLICK}, id="urlencoded"),
        pytest.param({"files": {"List-Unsubscribe": (None, "One-Click")}}, id="multipart"),
    ],
)
def test_one_click_withdraws_that_purpose_on_that_channel_and_can_be_repeated(
    person: TestClient, client: TestClient, engine: Engine, sent: dict[str, Any]
) -> None:
    grant(client, purpose="promotions", address=EMAIL)
    grant(client, purpose="newsletter", address=EMAIL)
    path = unsubscribe_path(client)
    for _ in range(2):
        response = person.post(path, **sent, follow_redirects=False)
        assert response.status_code == 200
        assert "set-cookie" not in response.headers
        assert "you are unsubscribed" in response.text
    assert not permitted(client, purpose="promotions")
    assert permitted(client, purpose="newsletter")
    withdrawal = recorded(engine)[-1]
    assert (withdrawal.status, withdrawal.bulk, withdrawal.subject_id) == ("withdrawn", False, None)
    assert withdrawal.evidence["capture_method"] == "one-click-link"
    # An old link works again after a new consent.
    grant(client, purpose="promotions", address=EMAIL, subject_ref="customer-1")
    assert person.post(path, data=ONE_CLICK).status_code == 200
    assert not permitted(client, purpose="promotions")


def test_without_the_body_of_rfc_8058_nothing_is_withdrawn(
    person: TestClient, client: TestClient, engine: Engine
) -> None:
    path = unsubscribe_path(client)
    for sent in ({}, {"data": {"List-Unsubscribe": "no"}}, {"content": b"\xff\x00", "headers": {"Content-Type": "x"}}):
        assert person.post(path, **sent).status_code == 400
    assert recorded(engine) == []


def test_every_wrong_link_gets_the_same_answer(person: TestClient, client: TestClient, engine: Engine) -> None:
    good, preferences = unsubscribe_path(client), preferences_path(client)
    strangers = Links(_other_keyring)
    link = Link(tenant="acme", kind=LinkKind.ONE_CLICK, channel="email", address=EMAIL, purpose="promotions")
    wrong = [
        good[:-1],
        good[:20],
        good + "A",
        good[:40] + ("A" if good[40] != "A" else "B") + good[41:],
        "/u/" + strangers.token(link),
        preferences.replace("/p/", "/u/"),
        "/u/x",
        "/u/" + "A" * 3_000,
    ]
    answers = {(r.status_code, r.text) for r in (person.post(path, data=ONE_CLICK) for path in wrong)}
    assert len(answers) == 1
    assert {status for status, _ in answers} == {404}
    assert person.get(good.replace("/u/", "/p/")).status_code == 404
    assert recorded(engine) == []


def _other_keyring() -> Any:
    import tempfile

    from consent_privacy import keyring_file

    with tempfile.TemporaryDirectory() as directory:
        return keyring_file.generate(Path(directory) / "keyring.toml", ["acme"])


def test_who_guesses_is_slowed_down_and_stops_no_one_else(person: TestClient, client: TestClient) -> None:
    statuses = {person.get(f"/u/{'A' * 60}{i:03}").status_code for i in range(40)}
    assert statuses == {404, 429}
    assert person.post(unsubscribe_path(client), data=ONE_CLICK).status_code == 200


@pytest.mark.parametrize("path", ["/u/", "/u/a/b", "/p/x/history/more", "/p/of/acme/nothing"])
def test_a_link_that_was_cut_leads_to_a_page(person: TestClient, path: str) -> None:
    answer = person.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "This link does not work" in answer.text
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert person.post(path, data=ONE_CLICK).status_code in (404, 405)


@pytest.mark.parametrize("end", ["/", ".", ")", ">", "%20", "/)", "%C2%A0", "%E2%80%9D."])
def test_a_link_that_was_copied_with_what_follows_it_works(person: TestClient, client: TestClient, end: str) -> None:
    grant(client, address=EMAIL)
    path = unsubscribe_path(client)
    assert person.get(path + end, follow_redirects=False).text == person.get(path).text
    # Mail providers follow no redirect (RFC 8058).
    assert person.post(path + end, data=ONE_CLICK, follow_redirects=False).status_code == 200
    assert not permitted(client)
    centre = preferences_path(client)
    for below in ("", "/history", "/rights", "/accessibility"):
        assert person.get(f"{centre}{below}{end}", follow_redirects=False).status_code == 200, below
    shown = person.get(centre + end).text
    assert f'action="{centre}' in shown
    answers = {"form": form_of(shown), "action": "refuse"}
    assert person.post(centre + end, data=answers, follow_redirects=False).status_code == 200
    assert person.get(f"{path[:-1]}{end}").status_code == 404


def test_a_link_that_is_used_too_often_stops_no_other(person: TestClient, client: TestClient) -> None:
    path = unsubscribe_path(client)
    answers = [person.post(path, data=ONE_CLICK) for _ in range(11)]
    assert [each.status_code for each in answers] == [200] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert person.post(unsubscribe_path(client, "survey"), data=ONE_CLICK).status_code == 200


def test_what_cannot_be_committed_is_answered_503(
    person: TestClient, client: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, preferences = unsubscribe_path(client), preferences_path(client)
    form = form_of(person.get(preferences).text)
    monkeypatch.setattr(Ledger, "transact", MagicMock(side_effect=LedgerUnavailableError("gone", retry_after=7)))
    for response in (
        person.post(path, data=ONE_CLICK),
        person.get(preferences),
        person.post(preferences, data={"form": form, "action": "refuse"}),
    ):
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "7"
        assert "Nothing was changed" in response.text


def test_a_yes_that_is_refused_leaves_the_no_beside_it_and_the_page_says_which(
    person: TestClient, client: TestClient, owner_engine: Engine
) -> None:
    for channel, address in (("email", EMAIL), ("sms", PHONE)):
        grant(client, channel, subject_ref="customer-1", address=address)
    path = preferences_path(client, subject_ref="customer-1")
    for answer in ("off", "on", "off"):
        person.post(path, data={"form": form_of(person.get(path).text), "email.promotions": answer})
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE notices SET stale_at = 1 WHERE notice_id LIKE '%.promotions.email'"))
    choices = {"email.promotions": "on", "sms.promotions": "off"}
    page = person.post(path, data={"form": form_of(person.get(path).text), **choices})
    assert (page.status_code, "Where you said no, it is saved." in page.text) == (503, True)
    with owner_engine.connect() as connection:
        newest = "SELECT channel, status FROM decisions ORDER BY decision_id DESC LIMIT 1"
        assert tuple(connection.execute(text(newest)).one()) == ("sms", "withdrawn")


def test_headers_of_thousands_of_messages_come_from_one_call(client: TestClient) -> None:
    wanted = [
        {"channel": "email", "address": f"person{i}@example.com", "purpose": "promotions", "subject_ref": f"c-{i}"}
        for i in range(1_000)
    ]
    response = client.post("/v1/links", json={"links": wanted})
    assert response.status_code == 200
    made = response.json()["links"]
    assert len({each["list_unsubscribe"] for each in made}) == 1_000
    assert made[0]["list_unsubscribe"] == f"<{made[0]['unsubscribe']}>"
    assert made[0]["list_unsubscribe_post"] == "List-Unsubscribe=One-Click"
    assert all(len(each["list_unsubscribe"]) < 250 for each in made[:100])
    assert "person0" not in response.text


def test_making_links_needs_its_scope_and_names_what_is_wrong(client: TestClient, owner_engine: Engine) -> None:
    one = {"channel": "email", "address": EMAIL}
    with owner_engine.begin() as connection:
        other = key_store.create(connection, tenant="acme", scopes=["submit"], name="shop", now=now_micros())
    refused = client.post("/v1/links", json={"links": [one]}, headers={"Authorization": f"Bearer {other}"})
    assert refused.status_code == 403
    wrong = [one, {**one, "address": "no address"}, {**one, "purpose": "NO SLUG"}, {**one, "channel": "pigeon"}]
    good, *others = client.post("/v1/links", json={"links": wrong}).json()["links"]
    assert set(good) == {"preferences"}
    assert [each["errors"][0]["field"] for each in others] == [
        "/links/1/address",
        "/links/2/purpose",
        "/links/3/channel",
    ]
    for none_or_too_many in ([], [one] * 10_001):
        assert client.post("/v1/links", json={"links": none_or_too_many}).status_code == 422


def test_the_centre_saves_what_is_changed_with_the_evidence_of_what_it_showed(
    person: TestClient, client: TestClient, engine: Engine
) -> None:
    grant(client, purpose="promotions", subject_ref="customer-1", address=EMAIL)
    path = preferences_path(client, subject_ref="customer-1")
    page = person.get(path)
    assert page.status_code == 200
    assert page.text.count(" checked") == 1  # What was never answered has no answer chosen.
    assert "SMS" not in page.text  # No number is known.
    before = len(recorded(engine))
    answers = {"email.promotions": "off", "email.newsletter": "on"}
    receipt = person.post(f"{path}?lang=fr", data={"form": form_of(person.get(f"{path}?lang=fr").text), **answers})
    assert receipt.status_code == 200
    assert "Vos choix sont enregistrés" in receipt.text
    refused, given = sorted(recorded(engine)[before:], key=lambda row: row.status, reverse=True)
    assert (given.status, given.purpose) == ("given", "newsletter")
    assert (refused.status, refused.purpose) == ("withdrawn", "promotions")
    assert given.evidence.keys() == set(EVIDENCE)
    assert given.evidence["notice_language"] == "fr"
    assert given.evidence["notice_version"].startswith("2026-11.")
    notice = client.get("/v1/notices/{notice_id}/{notice_version}/fr".format(**given.evidence)).json()
    assert notice["hash"] == given.evidence["notice_hash"]
    assert notice["text"].splitlines()[0] in receipt.text
    assert given.evidence["notice_hash"] != refused.evidence["notice_hash"]
    assert permitted(client, purpose="newsletter")
    assert not permitted(client, purpose="promotions")
    history = person.get(f"{path}/history")
    assert history.status_code == 200
    assert history.text.count(" · This page · ") == 2


def test_refusing_all_is_one_click_as_accepting_all(person: TestClient, client: TestClient) -> None:
    for channel, address in (("email", EMAIL), ("sms", PHONE)):
        grant(client, channel, subject_ref="customer-1", address=address)
    grant(client, NO_SETTING, subject_ref="customer-1", address=PHONE)
    path = preferences_path(client, subject_ref="customer-1")
    page = person.get(path).text
    refuse, accept = (
        re.search(rf'<button class="([^"]*)" name="action" value="{each}"', page) for each in ("refuse", "accept")
    )
    assert refuse is not None
    assert accept is not None
    assert refuse[1] == accept[1]
    assert person.post(path, data={"form": form_of(page), "action": "refuse"}).status_code == 200
    assert not permitted(client)
    assert not permitted(client, "sms", address=PHONE)
    assert not permitted(client, NO_SETTING, address=PHONE)
    assert not permitted(client, purpose="a-purpose-to-come")
    form = form_of(person.get(path).text)
    receipt = person.post(path, data={"form": form, "action": "accept"})
    assert receipt.status_code == 200


def test_refusing_all_by_the_link_of_a_number_refuses_calls_that_are_imported_later(
    person: TestClient, client: TestClient
) -> None:
    path = make(client, channel="sms", address=PHONE)["preferences"].removeprefix(PUBLIC_URL)
    receipt = person.post(path, data={"form": form_of(person.get(path).text), "action": "refuse"})
    assert "All messages – Phone calls" in receipt.text
    grant(client, "voice", address=PHONE)  # An hour old.
    assert not permitted(client, "voice", address=PHONE)


def test_a_number_that_is_linked_later_inherits_that_all_is_refused(person: TestClient, client: TestClient) -> None:
    grant(client, subject_ref="customer-1", address=EMAIL)
    path = preferences_path(client, subject_ref="customer-1")
    receipt = person.post(path, data={"form": form_of(person.get(path).text), "action": "refuse"})
    assert "All messages – Text messages (SMS)" in receipt.text
    grant(client, "sms", subject_ref="customer-1", address=PHONE)  # An hour old.
    assert not permitted(client, "sms", address=PHONE)


@pytest.mark.parametrize("way", ["refuse", "objection", "gpc", "request"])
@pytest.mark.parametrize("is_linked", [True, False])
def test_a_refusal_of_a_subject_with_as_many_addresses_as_it_may_have_is_recorded(
    full: TestClient, engine: Engine, way: str, is_linked: bool
) -> None:
    who = {"subject_ref": "customer-1", "channel": "sms", "address": PHONE}
    grant(full, "sms", "promotions", address=PHONE, **({"subject_ref": "customer-1"} if is_linked else {}))
    grant(full, "voice", "promotions", address=PHONE)
    for address in ("one@example.com", "two@example.com")[: 1 if is_linked else 2]:
        grant(full, "email", "promotions", subject_ref="customer-1", address=address)
    path = make(full, **who)["preferences"].removeprefix(PUBLIC_URL)
    if way == "refuse":
        answer = full.post(path, data={"form": form_of(full.get(path).text), "action": "refuse"})
        assert "All messages" in answer.text
    elif way == "objection":
        form = form_of(full.get(f"{path}/rights").text)
        answer = full.post(f"{path}/rights", data={"form": form, "kind": "objection"})
        assert "Done" in answer.text
    elif way == "gpc":
        answer = full.post("/v1/gpc", json=who)
    else:
        body = {**who, "kind": "objection", "identity": "operator", "identity_note": "by letter"}
        answer = full.post("/v1/rights/requests", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert answer.status_code in (200, 201), answer.text
    for channel in ("sms", "voice"):
        assert not permitted(full, channel, "promotions", PHONE), channel
    assert not permitted(full, "email", "promotions", "one@example.com")
    with engine.connect() as connection:
        linked = "SELECT count(*) FROM subject_addresses WHERE unlinked_at IS NULL"
        assert connection.execute(text(linked)).scalar_one() == 2


def test_a_form_counts_for_its_own_link_and_from_its_own_page(
    person: TestClient, client: TestClient, engine: Engine
) -> None:
    path = preferences_path(client)
    other = make(client, channel="email", address="other@example.com")["preferences"].removeprefix(PUBLIC_URL)
    theirs, ours = form_of(person.get(other).text), form_of(person.get(path).text)
    refuse = {"action": "refuse"}
    for form, headers in ((theirs, {}), ("", {}), ("x" * 100, {}), (ours, {"Sec-Fetch-Site": "cross-site"})):
        assert person.post(path, data={"form": form, **refuse}, headers=headers).status_code == 403
    assert recorded(engine) == []
    assert (
        person.post(path, data={"form": ours, **refuse}, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    )


def test_an_outdated_page_gives_no_permission_but_refuses(person: TestClient, client: TestClient) -> None:
    path = preferences_path(client)
    form = form_of(person.get(path).text)
    person.post(unsubscribe_path(client), data=ONE_CLICK)
    assert person.post(path, data={"form": form, "email.promotions": "on"}).status_code == 409
    assert not permitted(client)
    answer = person.post(path, data={"form": form, "email.promotions": "on", "email.survey": "off"})
    assert answer.status_code == 200
    assert not permitted(client)


def test_a_page_that_is_saved_where_the_tenant_s_theme_is_wrong_refuses(
    person: TestClient, client: TestClient, restarted: TestClient, engine: Engine
) -> None:  # R45
    for purpose in ("promotions", "newsletter"):
        grant(client, purpose=purpose, address=EMAIL)
    path, before = preferences_path(client), len(recorded(engine))
    form = form_of(person.get(path, headers=GPC).text)
    assert restarted.post(path, data={"form": form, "action": "save", "email.survey": "on"}).status_code == 409
    assert restarted.post(path, data={"form": form, "action": "accept"}).status_code == 409
    assert len(recorded(engine)) == before
    receipt = restarted.post(path, data={"form": form, "action": "save", "email.promotions": "off"}, headers=GPC)
    assert receipt.status_code == 200
    assert "Nothing has changed" not in receipt.text
    assert "Not saved" not in receipt.text
    refused = recorded(engine)[before:]
    methods = {each.purpose: each.evidence["capture_method"] for each in refused}
    assert methods == {"promotions": "preference-centre", "newsletter": "global-privacy-control"}
    assert {each.status for each in refused} == {"withdrawn"}
    assert not permitted(client)
    assert not permitted(client, purpose="newsletter")


@pytest.mark.parametrize(
    ("language", "not_saved"),
    [("en", "Not saved: your yes to survey – E-mail."), ("fr", "Non enregistré\xa0: votre oui à survey – E-mail.")],
)
def test_a_receipt_names_the_yes_that_was_not_saved_beside_the_no_that_was(
    person: TestClient, client: TestClient, restarted: TestClient, language: str, not_saved: str
) -> None:
    grant(client, address=EMAIL)
    path = preferences_path(client)
    answers = {"action": "save", "email.promotions": "off", "email.survey": "on"}
    form = form_of(person.get(path).text)
    receipt = restarted.post(f"{path}?lang={language}", data={"form": form, **answers})
    assert (receipt.status_code, not_saved in receipt.text) == (200, True)
    assert 'class="tick"' not in receipt.text
    assert not permitted(client)
    assert not permitted(client, purpose="survey")


def test_accepting_all_where_nothing_can_be_chosen_is_not_said_to_be_an_answer(
    client: TestClient, restarted: TestClient, engine: Engine
) -> None:
    path = preferences_path(client)
    page = restarted.get(path).text
    assert 'value="accept"' not in page
    answer = restarted.post(path, data={"form": form_of(page), "action": "accept"})
    assert (answer.status_code, "nothing was saved" in answer.text) == (409, True)
    assert recorded(engine) == []
    assert restarted.post(path, data={"form": form_of(page), "action": "refuse"}).status_code == 200
    assert [(each.purpose, each.status) for each in recorded(engine)] == [("*", "withdrawn")]


def test_refusing_all_by_a_link_of_a_channel_that_is_no_more_is_not_said_to_be_saved(
    person: TestClient, client: TestClient, ledger: Ledger, engine: Engine
) -> None:
    of = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="fax", address=PHONE)
    path = f"/p/{Links(lambda: ledger.context.keyring).token(of)}"
    answer = person.post(path, data={"form": form_of(person.get(path).text), "action": "refuse"})
    assert (answer.status_code, "Nothing was changed" in answer.text) == (503, True)
    assert recorded(engine) == []


def test_pages_cannot_be_framed_and_load_nothing(person: TestClient, client: TestClient) -> None:
    for path in (unsubscribe_path(client), preferences_path(client), "/u/wrong", "/p/", "/p/of/acme"):
        headers = person.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "form-action 'self'" in policy


@pytest.mark.parametrize("meanwhile", ["nothing", "withdrawn"])
def test_a_yes_is_renewed_by_the_person_and_no_other_way(
    person: TestClient, client: TestClient, engine: Engine, meanwhile: str
) -> None:  # R37
    tomorrow = rfc3339(now_micros() + 86_400 * SECOND)
    grant(client, address=EMAIL, expires_at=tomorrow)
    path = preferences_path(client)
    page = person.get(path).text
    assert 'value="renew"' in page
    if meanwhile == "withdrawn":
        person.post(unsubscribe_path(client), data=ONE_CLICK)
    renewed = person.post(path, data={"form": form_of(page), "action": "save", "email.promotions": "renew"})
    # What was withdrawn since is not given again by a page from before.
    assert renewed.status_code == (200 if meanwhile == "nothing" else 409)
    assert permitted(client) is (meanwhile == "nothing")
    if meanwhile == "nothing":
        body = {"channel": "email", "purpose": "promotions", "address": EMAIL}
        assert client.post("/v1/explain", json=body).json()["verdict"]["expires_at"] > tomorrow
        assert recorded(engine)[-1].evidence["notice_id"] == "preference-centre.promotions.email"
        assert 'value="renew"' not in person.get(path).text


@pytest.mark.parametrize("meanwhile", ["nothing", "refused", "moved on"])
def test_a_pause_ends_by_itself_unless_the_person_refuses_meanwhile(
    person: TestClient, client: TestClient, ledger: Ledger, owner_engine: Engine, meanwhile: str
) -> None:
    grant(client, subject_ref="customer-1", address=EMAIL)
    path = preferences_path(client, subject_ref="customer-1")
    receipt = person.post(path, data={"form": form_of(person.get(path).text), "email.promotions": "pause_30"})
    assert "Paused until" in receipt.text
    assert not permitted(client)
    assert "Paused until" in person.get(path).text
    assert "Paused until" in person.get(f"{path}/history").text
    ender = PauseEnder(ledger, health=Health(), failures=Counter("failures", "", registry=CollectorRegistry()))
    assert ender.turn() == 0
    if meanwhile == "refused":
        person.post(unsubscribe_path(client), data=ONE_CLICK)
    elif meanwhile == "moved on":  # its new owner permitted nothing
        body = {"addresses": [{"channel": "email", "address": EMAIL}]}
        assert client.request("DELETE", "/v1/subjects/customer-1/addresses", json=body).status_code == 200
    thirty_days_pass(owner_engine)
    assert ender.turn() == 1
    assert permitted(client) is (meanwhile == "nothing")
    assert ender.turn() == 0


def thirty_days_pass(engine: Engine) -> None:
    with engine.begin() as connection:
        thirty_days = {"ago": 30 * 86_400 * SECOND}
        connection.execute(
            text("UPDATE decisions SET effective_at = effective_at - :ago, recorded_at = recorded_at - :ago"),
            thirty_days,
        )
        connection.execute(
            text("UPDATE pauses SET paused_at = paused_at - :ago, ends_at = ends_at - :ago"), thirty_days
        )


def test_a_pause_that_cannot_be_ended_is_heard_and_stops_no_other(
    person: TestClient, client: TestClient, ledger: Ledger, owner_engine: Engine
) -> None:
    grant(client, subject_ref="customer-1", address=EMAIL)
    grant(client, "sms", subject_ref="customer-1", address=PHONE)
    path = preferences_path(client, subject_ref="customer-1")
    choices = {"email.promotions": "pause_30", "sms.promotions": "pause_30"}
    person.post(path, data={"form": form_of(person.get(path).text), **choices})
    thirty_days_pass(owner_engine)
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE pauses SET evidence = '[]' WHERE channel = 'sms'"))
    health, failures = Health(), Counter("failures", "", registry=(registry := CollectorRegistry()))
    ender = PauseEnder(ledger, health=health, failures=failures)
    assert ender.turn() == 1
    assert permitted(client)
    assert not permitted(client, "sms", address=PHONE)
    assert registry.get_sample_value("failures_total") == 1.0
    assert len(health.notes()) == 1
    assert ender.turn() == 0


@pytest.mark.parametrize("held", ["pauses", "subjects"])
def test_a_pause_that_another_session_holds_is_heard_of(
    person: TestClient,
    client: TestClient,
    ledger: Ledger,
    owner_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    held: str,
) -> None:
    """By the second turn that leaves it, as another process of ours may have it for a moment."""
    monkeypatch.setattr("consent_api.ledger.ledger.PATIENCE_SECONDS", 0.0)
    grant(client, subject_ref="customer-1", address=EMAIL)
    path = preferences_path(client, subject_ref="customer-1")
    person.post(path, data={"form": form_of(person.get(path).text), "email.promotions": "pause_30"})
    thirty_days_pass(owner_engine)
    health, failures = Health(), Counter("failures", "", registry=(registry := CollectorRegistry()))
    ender = PauseEnder(ledger, health=health, failures=failures)

    def turn() -> tuple[int, float | None, int]:
        return ender.turn(), registry.get_sample_value("failures_total"), len(health.notes())

    with owner_engine.connect() as session:
        session.execute(text(f"SELECT FROM {held} FOR UPDATE"))
        assert [turn(), turn()] == [(0, 0.0, 0), (0, 1.0, 1)]
        assert not permitted(client)
    assert [turn(), turn()] == [(1, 1.0, 0), (0, 1.0, 0)]
    assert permitted(client)


def test_a_person_whom_another_session_holds_stops_no_other_pause(
    person: TestClient,
    client: TestClient,
    ledger: Ledger,
    owner_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("consent_api.ledger.ledger.PATIENCE_SECONDS", 0.0)
    others = ("first@example.com", "last@example.com")
    for number, address in enumerate((others[0], EMAIL, others[1])):
        grant(client, subject_ref=f"customer-{number}", address=address)
        path = preferences_path(client, address=address, subject_ref=f"customer-{number}")
        person.post(path, data={"form": form_of(person.get(path).text), "email.promotions": "pause_30"})
    thirty_days_pass(owner_engine)
    health, failures = Health(), Counter("failures", "", registry=(registry := CollectorRegistry()))
    ender = PauseEnder(ledger, health=health, failures=failures)
    with owner_engine.connect() as session:
        held = session.execute(
            text("SELECT decision_id::text FROM pauses WHERE subject_ref = 'customer-1'")
        ).scalar_one()
        session.execute(text("SELECT FROM subjects WHERE subject_ref = 'customer-1' FOR UPDATE"))
        assert [ender.turn(), ender.turn()] == [2, 0]
        assert [permitted(client, address=each) for each in (others[0], EMAIL, others[1])] == [True, False, True]
    [named] = [record.decision_ids for record in caplog.records if hasattr(record, "decision_ids")]
    assert named == [held]
    assert registry.get_sample_value("failures_total") == 1.0
    assert ender.turn() == 1
    assert permitted(client)


def test_a_browser_s_signal_is_recorded_with_what_the_person_does(
    person: TestClient, client: TestClient, engine: Engine
) -> None:  # R23
    for purpose in ("promotions", "newsletter"):
        grant(client, purpose=purpose, address=EMAIL)
    path, before = preferences_path(client), len(recorded(engine))
    page = person.get(path, headers=GPC)
    assert "Your browser asks us not to sell or share" in page.text
    assert len(recorded(engine)) == before  # A look changes nothing.
    receipt = person.post(path, data={"form": form_of(page.text), "action": "save"}, headers=GPC)
    assert "Your browser asks for it" in receipt.text
    (refusal,) = recorded(engine)[before:]
    assert (refusal.status, refusal.purpose) == ("withdrawn", "newsletter")
    assert refusal.evidence["capture_method"] == "global-privacy-control"
    assert permitted(client)
    assert not permitted(client, purpose="newsletter")
    assert "Your browser’s signal" in person.get(f"{path}/history").text
    # Its absence lifts nothing, and another value is none.
    form = form_of(person.get(path).text)
    for headers in ({}, {"Sec-GPC": "0"}, {"Sec-GPC": "true"}):
        person.post(path, data={"form": form, "action": "save"}, headers=headers)
    assert len(recorded(engine)) == before + 1


def test_one_click_with_a_browser_s_signal_refuses_sharing_too(person: TestClient, client: TestClient) -> None:  # R23
    grant(client, purpose="newsletter", address=EMAIL)
    path = unsubscribe_path(client)
    assert "The Journal" not in person.post(path, data=ONE_CLICK).text
    assert permitted(client, purpose="newsletter")
    answer = person.post(path, data=ONE_CLICK, headers=GPC)
    assert "The Journal" in answer.text
    assert not permitted(client, purpose="newsletter")
    statement = person.get("/.well-known/gpc.json")
    assert statement.json()["gpc"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", statement.json()["lastUpdate"])


def test_a_signal_is_taken_in_the_wider_sense_or_sent_again_where_the_tenant_s_theme_is_wrong(
    client: TestClient, restarted: TestClient, engine: Engine
) -> None:  # R23 R45
    grant(client, purpose="newsletter", address=EMAIL)
    before = len(recorded(engine))
    answer = restarted.post("/v1/gpc", json={"channel": "email", "address": EMAIL})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert answer.json()["type"].endswith("theme-not-known")
    assert len(recorded(engine)) == before
    # A person who has clicked does not send it again.
    page = restarted.post(unsubscribe_path(client), data=ONE_CLICK, headers=GPC)
    assert page.status_code == 200
    assert "as a no for: All messages." in page.text
    refused = [(each.purpose, each.evidence["capture_method"]) for each in recorded(engine)[before:]]
    assert sorted(refused) == [("*", "global-privacy-control"), ("promotions", "one-click-link")]
    assert not permitted(client, purpose="newsletter")


def test_a_site_submits_the_signal_and_it_is_recorded_once(client: TestClient, engine: Engine) -> None:  # R23
    person = {"subject_ref": "customer-1"}
    grant(client, purpose="newsletter", address=EMAIL, **person)
    grant(client, purpose="promotions", address=EMAIL, **person)
    before = len(recorded(engine))
    first, second = (client.post("/v1/gpc", json=person) for _ in range(2))
    assert first.status_code == 200, first.text
    (refusal,) = first.json()["recorded"]
    assert (refusal["channel"], refusal["purpose"]) == ("email", "newsletter")
    assert second.json() == {"recorded": [], "refused_before": 1}
    assert len(recorded(engine)) == before + 1
    assert not permitted(client, purpose="newsletter")
    assert permitted(client)
    by_address = client.post("/v1/gpc", json={"channel": "email", "address": "new@example.com"})
    assert len(by_address.json()["recorded"]) == 1
    for wrong in ({}, {"address": EMAIL}, {"channel": "email", "address": "none"}, {"subject_ref": EMAIL}):
        assert client.post("/v1/gpc", json=wrong).status_code == 422, wrong


def test_a_signal_of_before_an_address_is_known_reaches_it(client: TestClient, engine: Engine) -> None:  # R23
    person = {"subject_ref": "customer-9"}
    first = client.post("/v1/gpc", json=person).json()
    assert {each["purpose"] for each in first["recorded"]} == {"newsletter"}
    assert "email" in {each["channel"] for each in first["recorded"]}
    again = client.post("/v1/gpc", json=person).json()
    assert again == {"recorded": [], "refused_before": len(first["recorded"])}
    grant(client, purpose="newsletter", address=EMAIL, **person)
    assert not permitted(client, purpose="newsletter"), "the permission is older than the signal"


def test_a_signal_is_recorded_of_a_person_whose_address_alone_is_refused(client: TestClient) -> None:  # R23
    person = {"subject_ref": "customer-9"}
    grant(client, address=EMAIL, **person)
    stop = {"channel": "email", "address": EMAIL, "purpose": "newsletter", "status": "withdrawn"}
    answer = client.post("/v1/decisions", json=stop, headers={"Idempotency-Key": str(uuid4())})
    assert answer.status_code == 201, answer.text
    assert client.post("/v1/gpc", json=person).json()["recorded"]
    assert client.post("/v1/gpc", json=person).json()["recorded"] == []
    grant(client, purpose="newsletter", address="new@example.com", **person)
    assert not permitted(client, purpose="newsletter", address="new@example.com")


def test_a_signal_for_a_person_and_their_number_refuses_calls_to_it_too(
    client: TestClient, ledger: Ledger, api_key: str, tmp_path: Path
) -> None:  # R23
    theme = themes(tmp_path)["acme"]
    sold = replace(theme, purposes=tuple(each.model_copy(update={"sale_or_share": True}) for each in theme.purposes))
    grant(client, "voice", address=PHONE)  # Of the number itself: it is linked to no one there.
    grant(client, "sms", address=PHONE, subject_ref="customer-1")
    app = instance(ledger, CollectorRegistry(), {"acme": sold})
    person = {"subject_ref": "customer-1", "channel": "sms", "address": PHONE}
    with TestClient(app, headers={"Authorization": f"Bearer {api_key}"}) as other:
        assert other.post("/v1/gpc", json=person).status_code == 200
        assert not permitted(client, "sms", address=PHONE)
        assert not permitted(client, "voice", address=PHONE)
        assert other.post("/v1/gpc", json=person).json()["recorded"] == []


def test_what_is_recorded_is_shown_although_the_ledger_cannot_be_read_after_it(
    person: TestClient, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant(client, address=EMAIL)
    path = preferences_path(client)
    form = form_of(person.get(path).text)
    monkeypatch.setattr("consent_api.links.pauses.add", MagicMock(side_effect=LedgerUnavailableError("gone")))
    receipt = person.post(path, data={"form": form, "email.promotions": "pause_30"})
    assert receipt.status_code == 200
    assert "<strong>No</strong>" in receipt.text
    assert "Paused" not in receipt.text
    assert not permitted(client)


def test_the_page_counts_the_tools_that_have_applied_what_decides(
    person: TestClient, client: TestClient, owner_engine: Engine
) -> None:  # R28
    path = preferences_path(client)
    person.post(path, data={"form": form_of(person.get(path).text), "email.promotions": "off"})
    decision_id = recorded(owner_engine)[-1].decision_id
    assert "systems" not in person.get(path).text
    stages = [("a", "queued", 1), ("a", "accepted", 2), ("b", "queued", 1), ("b", "effective", 2), ("b", "failed", 3)]
    with owner_engine.begin() as connection:
        for destination, stage, at in stages:
            receipt = {"id": f"{destination} {stage}", "destination": destination, "stage": stage, "at": at}
            connection.execute(text(RECEIPT), receipt)
            linked = {"decision_id": decision_id, "id": receipt["id"]}
            connection.execute(text("INSERT INTO receipt_decisions VALUES (:decision_id, :id)"), linked)
    assert "applied in 1 of 2 systems" in person.get(path).text
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE receipts SET stage = 'accepted' WHERE stage = 'failed'"))
    assert "applied in all our systems" in person.get(path).text


RECEIPT = """
INSERT INTO receipts (receipt_id, tenant, destination, channel, address_key, action, stage, version, recorded_at,
                      queued_at, reached_at, attempts)
VALUES (:id, 'acme', :destination, 'email', 'h1.x', 'suppress', :stage, 1, 1, 1, :at, 1)
"""
