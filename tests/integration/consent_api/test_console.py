"""The console over HTTP: sessions, what each page shows, and what it does. # R9 R28 R52"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.validation import EVIDENCE, ValidationRules, ValidDecision
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store, reviews
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.reviews import NewReview
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_contracts.decisions import DELIVERY, UNDELIVERABLE
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.integration.consent_api.erasure_rig import ErasureRig
from tests.support.themes import CHANNELS, themes

NUMBER, WRITTEN, EMAIL = "+33639980001", "06 39 98 00 01", "someone@example.com"
REFERENCE = "customer-4711"
SECOND = 1_000_000
SCOPES = ("console", "submit", "read", "admin", "rights:read", "rights:write")
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Of two tenants."""
    return generate(tmp_path_factory.mktemp("keyring") / "keyring.toml", ["acme", "globex"])


@pytest.fixture
def api(ledger: Ledger, metrics_registry: CollectorRegistry, tmp_path: Path) -> Any:
    return create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(metrics_registry, channels=CHANNELS),
        health=Health(),
        themes=themes(tmp_path),
        public_url="http://testserver",
    )


@pytest.fixture
def program(api: Any, api_key: str) -> Iterator[TestClient]:
    """What submits, with an API key of the API."""
    with TestClient(api, headers={"Authorization": f"Bearer {api_key}"}) as client:
        yield client


@pytest.fixture
def browser(api: Any, program: TestClient) -> TestClient:
    """Without a session."""
    return TestClient(api, headers={"Accept-Language": "en", **OWN}, follow_redirects=True)


def key(engine: Engine, *scopes: str, tenant: str = "acme", may_lift: bool = True) -> str:
    with engine.begin() as connection:
        return key_store.create(
            connection, tenant=tenant, scopes=scopes or SCOPES, name="Desk 7", now=now_micros(), may_lift=may_lift
        )


def sign_in(browser: TestClient, token: str) -> Any:
    return browser.post("/console/login", data={"key": token})


def form_of(page: Any, action: str) -> str:
    """The token of the form that leads there."""
    found = re.search(
        rf'action="[^"]*{action}[^"]*"[^>]*>\s*<input type="hidden" name="form" value="([^"]+)"', page.text
    )
    assert found is not None, page.text
    return found[1]


def search(browser: TestClient, query: str) -> Any:
    first = browser.get("/console/")
    return browser.post("/console/search", data={"form": form_of(first, "search"), "query": query})


def plain(page: Any) -> str:
    """What it shows, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text.partition("<body")[2])).split())


def grant(program: TestClient, **fields: str) -> None:
    body = {
        "subject_ref": REFERENCE,
        "channel": "voice",
        "address": NUMBER,
        "purpose": "promotions",
        "status": "given",
        "occurred_at": rfc3339(now_micros() - 3600 * SECOND),
        "expires_at": "2999-01-01T00:00:00Z",
        "evidence": {name: f"some {name}" for name in EVIDENCE},
        **fields,
    }
    response = program.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert response.status_code == 201, response.text


def audited(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(row.who, row.act) for row in connection.execute(text("SELECT * FROM audit_entries ORDER BY entry_id"))]


def test_a_key_begins_a_session_that_ends_with_it(browser: TestClient, owner_engine: Engine) -> None:
    token = key(owner_engine)
    assert browser.get("/console").url.path == "/console/login"
    page = sign_in(browser, token)
    assert page.status_code == 200
    assert page.url.path == "/console/"
    (cookie,) = browser.cookies.jar
    assert cookie.name == "console"
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Strict"
    assert token not in str(cookie.value)
    with owner_engine.begin() as connection:
        assert str(cookie.value) not in str(connection.execute(text("SELECT * FROM console_sessions")).all())
        key_store.revoke(connection, token.split("_")[1], now=now_micros())
    # At once, and not when a memory of the key has passed.
    assert browser.get("/console/").url.path == "/console/login"


@pytest.mark.parametrize(("column", "age"), [("started_at", 8 * 3600), ("seen_at", 30 * 60)])
def test_a_session_ends_with_the_day_or_after_quiet(
    browser: TestClient, owner_engine: Engine, column: str, age: int
) -> None:
    sign_in(browser, key(owner_engine))
    with owner_engine.begin() as connection:
        connection.execute(text(f"UPDATE console_sessions SET {column} = {column} - {(age - 60) * SECOND}"))
    page = browser.get("/console/agent")
    assert page.url.path == "/console/agent"
    with owner_engine.begin() as connection:
        connection.execute(text(f"UPDATE console_sessions SET {column} = {column} - {age * SECOND}"))
    late = browser.post("/console/agent", data={"form": form_of(page, "agent"), "number": NUMBER, "action": "calls"})
    assert late.status_code == 401
    assert browser.get("/console/").url.path == "/console/login"


def test_signing_out_leaves_nothing_behind(browser: TestClient, owner_engine: Engine) -> None:
    page = sign_in(browser, key(owner_engine))
    (cookie,) = browser.cookies.jar
    stolen = str(cookie.value)
    assert browser.post("/console/logout", data={"form": form_of(page, "logout")}).url.path == "/console/login"
    assert not list(browser.cookies.jar)
    browser.cookies.set("console", stolen)
    assert browser.get("/console/").url.path == "/console/login"


def test_a_session_is_never_one_that_someone_else_has_chosen(browser: TestClient, owner_engine: Engine) -> None:
    browser.cookies.set("console", "chosen-by-another")
    sign_in(browser, key(owner_engine))
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM console_sessions")).scalar_one() == 1
    assert "chosen-by-another" not in [str(each.value) for each in browser.cookies.jar if each.domain != ""]
    fresh = TestClient(browser.app, headers=OWN)
    fresh.cookies.set("console", "chosen-by-another")
    assert fresh.get("/console/").url.path == "/console/login"


def test_every_wrong_key_gets_the_same_answer(browser: TestClient, owner_engine: Engine) -> None:
    good = key(owner_engine)
    revoked = key(owner_engine)
    with owner_engine.begin() as connection:
        key_store.revoke(connection, revoked.split("_")[1], now=now_micros())
    wrong = [
        "",
        "password",
        f"{good[:-1]}{'A' if good[-1] != 'A' else 'B'}",
        f"cr_0123456789ab_{'A' * 43}",
        revoked,
        key(owner_engine, "submit", "read", "admin"),
        key(owner_engine, tenant="of-no-keyring"),
    ]
    answers = {(page.status_code, page.text) for page in (sign_in(browser, each) for each in wrong)}
    assert len(answers) == 1
    assert not list(browser.cookies.jar)
    statuses = [sign_in(browser, "password").status_code for _ in range(6)]
    assert statuses[-1] == 429
    # A right key is not shut out by a guesser behind the same proxy.
    assert sign_in(browser, good).status_code == 200


def test_by_https_the_cookie_is_bound_to_the_host(
    ledger: Ledger, metrics_registry: CollectorRegistry, owner_engine: Engine
) -> None:
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(metrics_registry, channels=CHANNELS),
        health=Health(),
        public_url="https://choices.example.com",
    )
    client = TestClient(app, base_url="https://choices.example.com", follow_redirects=False)
    answer = sign_in(client, key(owner_engine))
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-console=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")


FORMS = [
    ("/console/logout", {}),
    ("/console/search", {"query": REFERENCE}),
    ("/console/agent", {"number": NUMBER, "action": "everything"}),
    (f"/console/reviews/{uuid4()}", {"resolution": "not_a_withdrawal"}),
    (f"/console/requests/{uuid4()}", {"action": "done"}),
    (f"/console/requests/{uuid4()}/data", {"format": "json"}),
    (f"/console/requests/{uuid4()}/erasure", {}),
    (f"/console/requests/{uuid4()}/rectification", {"channel": "sms", "old": NUMBER, "new": "+33639980002"}),
    ("/console/person/x/requests", {"kind": "erasure", "note": "x"}),
]


def test_no_form_is_taken_from_another_page(browser: TestClient, owner_engine: Engine) -> None:
    sign_in(browser, key(owner_engine))
    first = browser.get("/console/")
    for path, fields in FORMS:
        other = form_of(first, "search" if "search" not in path else "logout")
        for sent in ({}, {"form": "0" * 64}, {"form": other}):
            assert browser.post(path, data={**fields, **sent}).status_code == 403, path
    cross = TestClient(browser.app, cookies=browser.cookies)
    right = form_of(first, "search")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert cross.post("/console/search", data={"form": right, "query": "x"}, headers=headers).status_code == 403
        assert cross.post("/console/login", data={"key": "x"}, headers=headers).status_code == 403
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 0


def test_each_page_needs_its_scope(browser: TestClient, owner_engine: Engine) -> None:
    sign_in(browser, key(owner_engine, "console"))
    for path, scope in (
        ("/console/", "read"),
        ("/console/agent", "submit"),
        ("/console/reviews", "admin"),
        ("/console/requests", "rights:read"),
        (f"/console/requests/{uuid4()}", "rights:read"),
        ("/console/person/x", "read"),
        ("/console/person/x/answer", "read"),
    ):
        page = browser.get(path)
        assert page.status_code == 403
        assert f"scope {scope}" in page.text


def test_a_person_is_found_by_reference_and_by_address_and_no_url_says_whom(
    browser: TestClient, program: TestClient, owner_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    grant(program)
    grant(program, channel="email", address=EMAIL, purpose="newsletter")
    grant(program, status="withdrawn", purpose="newsletter", channel="email", address=EMAIL)
    token = key(owner_engine)
    sign_in(browser, token)
    urls: list[str] = []
    for query in (REFERENCE, WRITTEN, EMAIL):
        page = search(browser, query)
        assert page.status_code == 200, page.text
        urls += [str(page.url), *(str(each.headers["location"]) for each in page.history)]
        shown = plain(page)
        assert "some notice_version" in shown
        assert REFERENCE in shown
        title = re.search(r"<title>([^<]*)</title>", page.text)
        assert title is not None
        for each in [*urls, title[1], *re.findall(r'(?:href|action)="([^"]*)"', page.text), caplog.text]:
            assert not re.search(r"4711|9800|someone|63998", each), each
    # By reference addresses are masked; what was withdrawn shows, and what it replaced.
    shown = plain(search(browser, REFERENCE))
    assert "+33 ••• 01" in shown
    assert "s•••@example.com" in shown
    assert EMAIL not in shown
    assert "Replaced by a newer decision" in shown
    # By address it is explained in sentences.
    shown = plain(search(browser, EMAIL))
    assert "This address may not be contacted by email for newsletter (withdrawn)." in shown
    answer = browser.get(urls[0].replace("?", "/answer?"))
    assert answer.status_code == 200
    assert "Article 19" in answer.text
    who = f"key:{token.split('_')[1]}"
    assert audited(owner_engine)[:2] == [(who, "signed_in"), (who, "person_viewed")]
    assert (who, "answer_printed") in audited(owner_engine)
    assert search(browser, "customer-0815").status_code == 404


def test_an_answer_that_leaves_addresses_out_says_so(
    browser: TestClient, program: TestClient, owner_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant(program)
    grant(program, channel="email", address=EMAIL, purpose="newsletter")
    sign_in(browser, key(owner_engine))
    answer = str(search(browser, REFERENCE).url).replace("?", "/answer?")
    assert "This answer is about" not in browser.get(answer).text
    monkeypatch.setattr("consent_api.console.search.MOST_IN_ANSWER", 1)
    assert "This answer is about 1 of 2 addresses" in browser.get(answer).text


def test_an_address_that_takes_no_messages_is_shown_as_such(
    browser: TestClient, program: TestClient, owner_engine: Engine, ledger: Ledger
) -> None:
    grant(program, channel="email", address=EMAIL)
    now = now_micros()
    bounce = ValidDecision(
        tenant="acme",
        event_id=None,
        subject_ref=None,
        address=EMAIL,
        channel="email",
        purpose=DELIVERY,
        status=UNDELIVERABLE,
        effective_at=now - SECOND,
        recorded_at=now,
        expires_at=None,
        evidence={"capture_method": "bounce"},
    )
    ledger.record([bounce])
    sign_in(browser, key(owner_engine))
    for query in (EMAIL, REFERENCE):
        page = search(browser, query)
        assert page.status_code == 200
        assert "Messages do not arrive" in plain(page)
        assert "@delivery" not in plain(page)
        assert browser.get(str(page.url).replace("?", "/answer?")).status_code == 200


def test_a_long_history_begins_with_the_newest(browser: TestClient, program: TestClient, owner_engine: Engine) -> None:
    grant(program)
    batch = [
        {"subject_ref": REFERENCE, "channel": "voice", "address": NUMBER, "purpose": f"old-{n}", "status": "refused"}
        for n in range(205)
    ]
    response = program.post("/v1/decisions/batch", json={"decisions": batch}, headers={"Idempotency-Key": "many"})
    assert response.status_code == 200
    grant(program, status="withdrawn", purpose="the-last")
    sign_in(browser, key(owner_engine))
    history = plain(search(browser, REFERENCE)).rpartition("History")[2]
    assert history.index("the-last") < history.index("old-204")
    assert "old-0 " not in history
    assert "Older decisions are left out" in history


def test_the_page_of_one_session_is_none_in_another(
    browser: TestClient, program: TestClient, owner_engine: Engine
) -> None:
    grant(program)
    sign_in(browser, key(owner_engine))
    url = str(search(browser, REFERENCE).url)
    other = TestClient(browser.app, headers=OWN)
    sign_in(other, key(owner_engine))
    assert other.get(url).status_code == 404
    assert browser.get(url).status_code == 200


def test_another_tenant_sees_no_one(browser: TestClient, program: TestClient, owner_engine: Engine) -> None:
    grant(program)
    sign_in(browser, key(owner_engine, tenant="globex"))
    assert search(browser, REFERENCE).status_code == 404
    shown = plain(search(browser, WRITTEN))
    assert "No decision is known" in shown
    assert REFERENCE not in shown


def test_an_agent_ends_calls_with_a_number_and_two_keys(
    browser: TestClient, program: TestClient, owner_engine: Engine
) -> None:
    grant(program)
    token = key(owner_engine)
    sign_in(browser, token)
    page = browser.get("/console/agent")
    looked = browser.post("/console/agent", data={"form": form_of(page, "agent"), "number": WRITTEN, "action": "look"})
    assert looked.status_code == 200
    assert "May be contacted" in plain(looked)
    sent = {"form": form_of(looked, "agent"), "number": WRITTEN, "action": "calls", "call_id": "call-9"}
    done = browser.post("/console/agent", data=sent)
    assert done.status_code == 200
    assert "No more calls to +33 6 39 98 00 01" in plain(done)
    who = f"key:{token.split('_')[1]}"
    assert audited(owner_engine)[-1] == (who, "spoken_withdrawal")
    with owner_engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM decisions WHERE status = 'withdrawn'")).one()
    assert row.evidence == {"capture_method": "spoken", "source_system": "call", "actor": f"{who}, call call-9"}
    shown = plain(browser.post("/console/agent", data={**sent, "action": "everything"}))
    assert "No more contact with +33 6 39 98 00 01" in shown


def test_an_agent_hears_at_once_what_could_not_be_recorded(browser: TestClient, owner_engine: Engine) -> None:
    sign_in(browser, key(owner_engine))
    form = form_of(browser.get("/console/agent"), "agent")
    for number, words in (("anonymous", "withheld"), ("12", "cannot be read"), ("", "withheld")):
        for action in ("look", "calls", "everything"):
            page = browser.post("/console/agent", data={"form": form, "number": number, "action": action})
            assert page.status_code == 422
            assert words in plain(page)
    shared = browser.post("/console/agent", data={"form": form, "number": NUMBER, "action": "everything"})
    assert "linked to no person" in plain(shared)


def test_a_reply_in_doubt_is_decided(browser: TestClient, owner_engine: Engine, keyring: Keyring) -> None:
    ids = [str(uuid4()) for _ in range(2)]
    waiting = [
        NewReview(tenant="acme", channel="sms", source="twilio", rule="r", decision_ids=[each], reply="<b>trop</b>")
        for each in ids
    ]
    with owner_engine.begin() as connection:
        reviews.insert(connection, keyring, waiting, now=now_micros())
    token = key(owner_engine)
    sign_in(browser, token)
    page = browser.get("/console/reviews")
    assert page.text.count("&lt;b&gt;trop") == 2
    form = form_of(page, "reviews/")
    path = f"/console/reviews/{ids[0]}"
    after = browser.post(path, data={"form": form, "resolution": "withdrawal"})
    assert after.text.count("trop") == 1
    assert browser.post(path, data={"form": form, "resolution": "not_a_withdrawal"}).status_code == 409
    assert (
        browser.post(f"/console/reviews/{uuid4()}", data={"form": form, "resolution": "withdrawal"}).status_code == 404
    )
    assert browser.post(path, data={"form": form, "resolution": "whatever"}).status_code == 403
    assert audited(owner_engine)[-1] == (f"key:{token.split('_')[1]}", "review_resolved")


def test_a_key_that_may_not_lift_a_refusal_does_not_here_either(
    browser: TestClient, owner_engine: Engine, keyring: Keyring
) -> None:
    own = str(uuid4())
    with owner_engine.begin() as connection:
        new = NewReview(tenant="acme", channel="sms", source="twilio", rule="r", decision_ids=[own], reply="non")
        reviews.insert(connection, keyring, [new], now=now_micros())
    sign_in(browser, key(owner_engine, may_lift=False))
    page = browser.get("/console/reviews")
    assert 'value="not_a_withdrawal"' not in page.text
    sent = {"form": form_of(page, "reviews/"), "resolution": "not_a_withdrawal"}
    assert browser.post(f"/console/reviews/{own}", data=sent).status_code == 403


def test_a_request_is_opened_extended_and_answered(
    browser: TestClient, program: TestClient, owner_engine: Engine
) -> None:
    grant(program)
    sign_in(browser, key(owner_engine))
    person = search(browser, REFERENCE)
    path = person.url.path
    form = form_of(person, "/requests")
    for note in ("", f"called {NUMBER}"):
        refused = browser.post(f"{path}/requests", data={"form": form, "kind": "access", "note": note})
        assert refused.status_code == 422
    opened = browser.post(f"{path}/requests", data={"form": form, "kind": "access", "note": "identity card seen"})
    assert opened.status_code == 200, opened.text
    assert "identity card seen" in plain(opened)
    assert REFERENCE in plain(opened)
    assert "Access" in plain(browser.get("/console/requests"))
    own = opened.url.path
    for name, begins in (("pdf", b"%PDF-"), ("html", b"<!doctype html>"), ("json", b"{"), ("csv", b"")):
        copy = browser.post(f"{own}/data", data={"form": form_of(opened, "/data"), "format": name})
        assert copy.status_code == 200
        assert copy.content.startswith(begins)
        assert copy.headers["content-disposition"].startswith("attachment")
        assert name == "pdf" or REFERENCE in copy.text
    assert browser.post(f"{own}/data", data={"form": form_of(opened, "/data"), "format": "exe"}).status_code == 404
    form = re.findall(r'name="form" value="([^"]+)"', opened.text)[-1]
    assert browser.post(own, data={"form": form, "action": "refuse", "text": ""}).status_code == 422
    extended = browser.post(own, data={"form": form, "action": "extend", "text": "many systems"})
    assert extended.status_code == 200
    assert 'value="extend"' not in extended.text
    done = browser.post(own, data={"form": form, "action": "done", "text": "sent by post"})
    assert "sent by post" in plain(done)
    assert browser.post(own, data={"form": form, "action": "refuse", "text": "no"}).status_code == 409
    acts = [act for _, act in audited(owner_engine)]
    assert acts[2:] == ["request_opened", *["data_exported"] * 4, "request_extended", "request_done"]
    assert "Access" in plain(search(browser, REFERENCE))


def test_an_objection_is_in_force_with_its_request(
    browser: TestClient, program: TestClient, owner_engine: Engine
) -> None:
    grant(program)
    sign_in(browser, key(owner_engine))
    person = search(browser, REFERENCE)
    sent = {"form": form_of(person, "/requests"), "kind": "objection", "note": "called back"}
    opened = browser.post(f"{person.url.path}/requests", data=sent)
    assert opened.status_code == 200
    assert "Done" in plain(opened)
    assert "May be contacted" not in plain(search(browser, REFERENCE))


@pytest.mark.parametrize(
    ("left", "kind", "shown"),
    [(20, "none", "Days left: 20"), (5, "doubt", "Due soon. Days left: 5"), (-2, "no", "Overdue. Days late: 2")],
)
def test_how_long_there_is_shows_in_words_and_in_colour(
    browser: TestClient, program: TestClient, owner_engine: Engine, left: int, kind: str, shown: str
) -> None:
    grant(program)
    sign_in(browser, key(owner_engine))
    person = search(browser, REFERENCE)
    opened = browser.post(
        f"{person.url.path}/requests",
        data={"form": form_of(person, "/requests"), "kind": "access", "note": "identity card seen"},
    )
    due = now_micros() + left * 86_400 * SECOND + (60 if left > 0 else -60) * SECOND
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE rights_requests SET due_at = :due"), {"due": due})
    for where in (opened.url.path, "/console/requests", person.url.path):
        assert f'<span class="pill {kind}">{shown}</span>' in browser.get(where).text


def test_an_erasure_begins_after_a_look_at_what_goes_and_what_stays(
    browser: TestClient, program: TestClient, owner_engine: Engine, ledger: Ledger, codec: Codec
) -> None:
    grant(program)
    sign_in(browser, key(owner_engine))
    person = search(browser, REFERENCE)
    opened = browser.post(
        f"{person.url.path}/requests",
        data={"form": form_of(person, "/requests"), "kind": "erasure", "note": "identity card seen"},
    )
    path = f"{opened.url.path}/erasure"
    look = browser.get(path)
    assert look.status_code == 200
    shown = plain(look)
    assert "decisions, with their evidence" in shown
    assert "an objection to everything" in shown
    assert not {"erasure_begun"} & {act for _, act in audited(owner_engine)}
    french = plain(browser.get(f"{path}?lang=fr"))
    assert "les décisions, avec leurs preuves" in french
    assert "RGPD, art. 5(2)" in french
    assert "decisions" not in french
    assert browser.post(path, data={"form": form_of(opened, "requests/")}).status_code == 403
    begun = browser.post(path, data={"form": form_of(look, "/erasure")})
    assert begun.status_code == 200
    assert "The erasure has begun" in plain(begun)
    assert "erasure_begun" in {act for _, act in audited(owner_engine)}
    # It shows so, and is answered by the erasure alone.
    for where in (opened.url.path, "/console/requests", search(browser, REFERENCE).url.path):
        assert "Erasure in progress" in plain(browser.get(where))
    running = browser.get(opened.url.path)
    assert 'value="done"' not in running.text
    assert "What goes and what stays" not in plain(running)
    rig = ErasureRig(ledger=ledger, owner=owner_engine, codec=codec)
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE erasures SET notify_until = 0"))
    rig.finish(rig.begin(subject_ref=REFERENCE))
    ended = browser.get(f"{opened.url.path}?lang=fr")
    assert "Certificat de l’effacement" in plain(ended)
    assert "une opposition à tout" in plain(ended)
    assert REFERENCE not in plain(ended)
    # Of a request for something else it is none.
    assert browser.get(f"/console/requests/{uuid4()}/erasure").status_code == 404


def test_an_address_is_corrected_with_the_refusals_alone(
    browser: TestClient, program: TestClient, owner_engine: Engine
) -> None:
    grant(program, channel="email", address="somone@example.com")
    grant(program, channel="email", address="somone@example.com", purpose="newsletter", status="withdrawn")
    sign_in(browser, key(owner_engine))
    person = search(browser, REFERENCE)
    opened = browser.post(
        f"{person.url.path}/requests",
        data={"form": form_of(person, "/requests"), "kind": "rectification", "note": "called back"},
    )
    path, form = f"{opened.url.path}/rectification", form_of(opened, "/rectification")
    for old, new in (("somone@example.com", "someone"), ("other@example.com", EMAIL), (EMAIL, EMAIL)):
        wrong = browser.post(path, data={"form": form, "channel": "email", "old": old, "new": new})
        assert (wrong.status_code, "Nothing was corrected" in wrong.text) == (422, True)
        # What was typed is there still, beside what is wrong with it.
        assert wrong.text.count('aria-describedby="not-corrected"') == 2
        for typed in (f'value="{old}"', f'value="{new}"', '<option value="email" selected>'):
            assert typed in wrong.text
    done = browser.post(path, data={"form": form, "channel": "email", "old": "somone@example.com", "new": EMAIL})
    assert done.status_code == 200
    assert "Done" in plain(done)
    shown = plain(search(browser, EMAIL))
    assert "Withdrawn" in shown
    assert "May be contacted" not in shown
    assert "rectified" in {act for _, act in audited(owner_engine)}
    again = browser.post(path, data={"form": form, "channel": "email", "old": "somone@example.com", "new": EMAIL})
    assert again.status_code == 404


def test_what_is_no_page_is_said_on_a_page(browser: TestClient) -> None:
    for path in ("/console/nothing", "/console/requests/none/more"):
        page = browser.get(path)
        assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_it_speaks_french(browser: TestClient, owner_engine: Engine) -> None:
    sign_in(browser, key(owner_engine))
    page = browser.get("/console/agent?lang=fr")
    assert "Plus d’appels" in page.text
    assert 'href="./agent?lang=en"' in page.text
