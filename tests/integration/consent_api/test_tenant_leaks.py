"""What acme asks about globex's people is answered as if these people, and all ids of theirs, did not exist. # R45

Every route of the API is called twice with acme's key, session, link or webhook: with what names a person of globex,
and with names that no tenant has. A route that is not named here fails the test.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import unified_diff
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, inspect, text
from starlette.routing import Route

from consent_api.domain.validation import EVIDENCE, ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.inbound.metrics import InboundMetrics
from consent_api.inbound.receiver import Inbound
from consent_api.inbound.sources import Source
from consent_api.ledger import key_store, renewals, reviews
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.reviews import NewReview
from consent_api.links.token import Link, LinkKind, Links
from consent_contracts.cloudevents import rfc3339
from consent_http.pages import form_token
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.support import provider_webhooks as sent
from tests.support.themes import CHANNELS, selling, themes

SCOPES = ("submit", "read", "links", "admin", "check", "rights:read", "rights:write", "console")
SECRET = sent.secret()
REPLY = {"capture_method": "reply"}
OWN = {"Sec-Fetch-Site": "same-origin", "Accept-Language": "en"}


def _spaced(value: str) -> list[str]:
    """How pages write a number."""
    pairs = re.findall("..", value[4:]) if value.startswith("+33") else []
    return [" ".join([start, *pairs]) for start in (f"0{value[3]}", f"+33 {value[3]}")] if pairs else []


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a request may name: of a person, and of what is held about them."""

    subject_ref: str
    number: str
    email: str
    event_id: str
    decision_id: str
    request_id: str
    review_id: str
    erasure_id: str
    hold_id: str
    notice_id: str
    address_key: str
    allow_once: str
    page_id: str

    def written_out(self, answer: str) -> str:
        """An answer without what differs from call to call, and with these names as words."""
        for field in fields(self):
            value = getattr(self, field.name)
            for form in (value, quote(value, safe=""), html.escape(value), *_spaced(value)):
                answer = answer.replace(form, f"<{field.name}>")
        answer = re.sub(r"\bh\d+\.[\w-]{43}", "<own key>", answer)
        answer = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", answer)
        answer = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "<time>", answer)
        answer = re.sub(r"\b\d\d:\d\d\b", "<time>", answer)
        answer = re.sub(r'name="(form|asked)" value="[^"]*"', "<sealed>", answer)
        return re.sub(r"/(u|p|person)/[\w.~-]{20,}", r"/\1/<sealed>", answer)


Call = Callable[["Caller", Names], httpx.Response]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One tenant's program, browser with a session in the console, and links."""

    tenant: str
    program: TestClient
    console: TestClient
    keyring: Keyring

    def link(self, kind: LinkKind, names: Names) -> str:
        purpose = "newsletter" if kind is LinkKind.ONE_CLICK else None
        person = names.subject_ref if kind is LinkKind.PREFERENCES else None
        link = Link(
            tenant=self.tenant, kind=kind, channel="sms", address=names.number, purpose=purpose, subject_ref=person
        )
        return Links(lambda: self.keyring).token(link)

    @property
    def session(self) -> str:
        (cookie,) = self.console.cookies.jar
        assert cookie.value is not None
        return cookie.value


def path_of(template: str, caller: Caller, names: Names) -> str:
    """With the names in the places of the path's parameters."""

    def value(found: re.Match[str]) -> str:
        match found[1]:
            case "token":
                kind = LinkKind.ONE_CLICK if template.startswith("/u/") else LinkKind.PREFERENCES
                return caller.link(kind, names)
            case "tenant":
                return caller.tenant
            case "source_id":
                return f"of-{caller.tenant}"
            case "version":
                return "3"
            case "language":
                return "fr"
        return quote(str(getattr(names, found[1])), safe="")

    return re.sub(r"\{([^}]+)\}", value, template)


def asks(template: str, query: Callable[[Names], Mapping[str, str]] = lambda names: {}) -> Call:
    def call(caller: Caller, names: Names) -> httpx.Response:
        client = caller.console if template.startswith("/console") else caller.program
        return client.get(path_of(template, caller, names), params=dict(query(names)))

    return call


def sends(template: str, body: Callable[[Names], Any] = lambda names: None, *, method: str = "POST") -> Call:
    """A JSON document of a program."""

    def call(caller: Caller, names: Names) -> httpx.Response:
        headers = {"Idempotency-Key": str(uuid4())}
        path = path_of(template, caller, names)
        return caller.program.request(method, path, json=body(names), headers=headers)

    return call


def submits(template: str, action: str, form: Callable[[Names], Mapping[str, str]]) -> Call:
    """A form of the console."""

    def call(caller: Caller, names: Names) -> httpx.Response:
        data = {"form": form_token(caller.session, action), **form(names)}
        return caller.console.post(path_of(template, caller, names), data=data)

    return call


def answers(template: str, page: str, **form: str) -> Call:
    """A form of the page of a link, as the page has it."""

    def call(caller: Caller, names: Names) -> httpx.Response:
        shown = caller.program.get(path_of(page, caller, names), headers=OWN)
        found = re.search(r'name="(form|asked)" value="([^"]*)"', shown.text)
        data = {each: value.format(**vars(names)) for each, value in form.items()}
        data |= {found[1]: found[2]} if found is not None else {}
        return caller.program.post(path_of(template, caller, names), data=data, headers=OWN)

    return call


def reports(template: str) -> Call:
    """A tool of the tenant, about the person's address."""

    def call(caller: Caller, names: Names) -> httpx.Response:
        webhook = sent.bearer(
            {"event": "unsubscribed", "email": names.email, "ts_epoch": 1_760_000_000_000}, key=SECRET
        )
        return caller.program.post(path_of(template, caller, names), content=webhook.body, headers=webhook.headers)

    return call


def signs_in_wrongly(caller: Caller, names: Names) -> httpx.Response:
    return caller.program.post("/console/login", data={"key": names.event_id}, headers=OWN)


def address_of(names: Names) -> dict[str, str]:
    return {"channel": "sms", "address": names.number}


def withdrawal(names: Names) -> dict[str, str]:
    person = {"subject_ref": names.subject_ref, "event_id": names.event_id, **address_of(names)}
    return {**person, "purpose": "newsletter", "status": "withdrawn"}


def after(name: str) -> Callable[[Names], Mapping[str, str]]:
    return lambda names: {"after": getattr(names, name)}


SEARCHED = ("subject_ref", "number", "email", "decision_id")
READING: dict[tuple[str, str], list[Call]] = {
    ("GET", "/openapi.json"): [asks("/openapi.json")],
    ("GET", "/docs"): [asks("/docs")],
    ("GET", "/.well-known/gpc.json"): [asks("/.well-known/gpc.json")],
    ("GET", "/v1/decisions/{decision_id}"): [],
    ("GET", "/v1/decisions/{decision_id}/receipts"): [],
    ("GET", "/v1/subjects/{subject_ref}/addresses"): [],
    ("GET", "/v1/subjects/{subject_ref}/state"): [],
    ("GET", "/v1/subjects/{subject_ref}/history"): [],
    ("GET", "/v1/events/{event_id}"): [],
    ("POST", "/v1/explain"): [sends("/v1/explain", lambda n: {**address_of(n), "purpose": "newsletter"})],
    ("POST", "/v1/allow-once"): [sends("/v1/allow-once", address_of)],
    ("POST", "/v1/allow-once/use"): [
        sends(
            "/v1/allow-once/use",
            lambda n: {"channel": "sms", "address_key": n.address_key, "token": n.allow_once},
        )
    ],
    ("POST", "/v1/links"): [
        sends(
            "/v1/links", lambda n: {"links": [{**address_of(n), "purpose": "newsletter", "subject_ref": n.subject_ref}]}
        )
    ],
    ("GET", "/v1/reviews"): [asks("/v1/reviews"), asks("/v1/reviews", after("review_id"))],
    ("GET", "/v1/rights/requests"): [asks("/v1/rights/requests"), asks("/v1/rights/requests", after("request_id"))],
    ("GET", "/v1/rights/requests/{request_id}"): [],
    ("POST", "/v1/rights/access"): [
        sends("/v1/rights/access", lambda n: {"subject_ref": n.subject_ref, "format": "json"}),
        sends("/v1/rights/access", lambda n: {**address_of(n), "format": "json"}),
    ],
    ("GET", "/v1/rights/audit"): [asks("/v1/rights/audit")],
    ("GET", "/v1/rights/erasures/{erasure_id}"): [],
    ("GET", "/v1/rights/holds"): [asks("/v1/rights/holds")],
    ("GET", "/v1/notices"): [asks("/v1/notices"), asks("/v1/notices", after("notice_id"))],
    ("GET", "/v1/notices/{notice_id}/{version}/{language}"): [],
    ("GET", "/v1/renewals"): [asks("/v1/renewals")],
    ("GET", "/v1/inbound/{source_id}"): [],
    ("GET", "/u/{token}"): [],
    ("GET", "/u/{token}/accessibility"): [],
    ("GET", "/p"): [asks("/p")],
    ("GET", "/p/"): [asks("/p/")],
    ("GET", "/p/of/{tenant}"): [],
    ("GET", "/p/of/{tenant}/code"): [],
    ("GET", "/p/of/{tenant}/accessibility"): [],
    ("GET", "/p/{token}"): [],
    ("GET", "/p/{token}/history"): [],
    ("GET", "/p/{token}/accessibility"): [],
    ("GET", "/p/{token}/rights"): [],
    ("GET", "/p/{token}/rights/data"): [],
    ("GET", "/p/{token}/proof"): [],
    ("GET", "/p/{token}/proof/pdf"): [],
    ("GET", "/console"): [asks("/console")],
    ("GET", "/console/"): [asks("/console/")],
    ("GET", "/console/login"): [asks("/console/login")],
    ("GET", "/console/agent"): [asks("/console/agent")],
    ("GET", "/console/reviews"): [asks("/console/reviews")],
    ("GET", "/console/requests"): [asks("/console/requests"), asks("/console/requests", after("request_id"))],
    ("GET", "/console/requests/{request_id}"): [],
    ("GET", "/console/requests/{request_id}/erasure"): [],
    ("GET", "/console/person/{page_id}"): [],
    ("GET", "/console/person/{page_id}/answer"): [],
    ("GET", "/console/{rest}"): [asks("/console/{subject_ref}/none")],
    ("GET", "/u/{rest}"): [asks("/u/{token}/none")],
    ("GET", "/p/{rest}"): [asks("/p/{token}/none")],
    ("POST", "/console/search"): [
        submits("/console/search", "search", lambda n, name=name: {"query": getattr(n, name)})  # type: ignore[misc]
        for name in SEARCHED
    ],
}
"""What only reads. Where there is no call, it is a GET of the path with the names in it."""
WRITING: dict[tuple[str, str], list[Call]] = {
    ("POST", "/v1/reviews/{review_id}"): [
        sends("/v1/reviews/{review_id}", lambda n: {"resolution": "withdrawal"}),
        sends("/v1/reviews/{review_id}", lambda n: {"resolution": "not_a_withdrawal"}),
    ],
    ("POST", "/v1/rights/requests/{request_id}/resolve"): [
        sends("/v1/rights/requests/{request_id}/resolve", lambda n: {"state": "done"})
    ],
    ("POST", "/v1/rights/requests/{request_id}/extend"): [
        sends("/v1/rights/requests/{request_id}/extend", lambda n: {"reason": "several systems"})
    ],
    ("DELETE", "/v1/rights/holds/{hold_id}"): [sends("/v1/rights/holds/{hold_id}", method="DELETE")],
    ("POST", "/v1/rights/rectifications"): [
        sends(
            "/v1/rights/rectifications",
            lambda n: {
                "channel": "email",
                "old_address": n.email,
                "new_address": "mended@example.com",
                "subject_ref": n.subject_ref,
            },
        )
    ],
    ("POST", "/v1/rights/erasures"): [
        sends("/v1/rights/erasures", lambda n, dry_run=dry_run: {"subject_ref": n.subject_ref, "dry_run": dry_run})  # type: ignore[misc]
        for dry_run in (True, False)
    ],
    ("DELETE", "/v1/subjects/{subject_ref}/addresses"): [
        sends("/v1/subjects/{subject_ref}/addresses", lambda n: {"addresses": [address_of(n)]}, method="DELETE")
    ],
    ("POST", "/console/requests/{request_id}"): [
        submits("/console/requests/{request_id}", "resolve-request", lambda n: {"state": "done", "action": "done"})
    ],
    ("POST", "/console/requests/{request_id}/data"): [
        submits("/console/requests/{request_id}/data", "export-data", lambda n: {"format": "json"})
    ],
    ("POST", "/console/requests/{request_id}/erasure"): [
        submits("/console/requests/{request_id}/erasure", "erase", lambda n: {})
    ],
    ("POST", "/console/requests/{request_id}/rectification"): [
        submits(
            "/console/requests/{request_id}/rectification",
            "rectify",
            lambda n: {"channel": "sms", "old": n.number, "new": "+33639985599"},
        )
    ],
    ("POST", "/console/person/{page_id}/requests"): [
        submits("/console/person/{page_id}/requests", "open-request", lambda n: {"kind": "access", "note": "seen"})
    ],
    ("POST", "/console/reviews/{review_id}"): [
        submits("/console/reviews/{review_id}", "review", lambda n: {"resolution": "withdrawal"})
    ],
    ("POST", "/v1/gpc"): [sends("/v1/gpc", lambda n: {"subject_ref": n.subject_ref})],
    # From here on acme records something of its own about either person.
    ("POST", "/console/login"): [signs_in_wrongly],
    ("POST", "/console/agent"): [
        submits("/console/agent", "agent", lambda n: {"number": n.number}),
        submits("/console/agent", "agent", lambda n: {"number": n.number, "action": "everything"}),
    ],
    ("POST", "/p/of/{tenant}"): [answers("/p/of/{tenant}", "/p/of/{tenant}", address="{number}")],
    ("POST", "/p/of/{tenant}/code"): [answers("/p/of/{tenant}/code", "/p/of/{tenant}/code", code="012345")],
    ("POST", "/u/{token}"): [answers("/u/{token}", "/u/{token}", **{"List-Unsubscribe": "One-Click"})],
    ("POST", "/p/{token}"): [answers("/p/{token}", "/p/{token}", action="refuse")],
    ("POST", "/p/{token}/rights"): [answers("/p/{token}/rights", "/p/{token}/rights", kind="access")],
    ("POST", "/p/{token}/rights/data"): [answers("/p/{token}/rights/data", "/p/{token}/rights", format="json")],
    ("POST", "/v1/inbound/{source_id}"): [reports("/v1/inbound/{source_id}")],
    ("POST", "/v1/withdrawals/spoken"): [sends("/v1/withdrawals/spoken", lambda n: {"number": n.number})],
    ("POST", "/v1/decisions"): [sends("/v1/decisions", withdrawal)],
    ("POST", "/v1/decisions/batch"): [sends("/v1/decisions/batch", lambda n: {"decisions": [withdrawal(n)]})],
    ("PUT", "/v1/subjects/{subject_ref}/addresses"): [
        sends("/v1/subjects/{subject_ref}/addresses", lambda n: {"addresses": [address_of(n)]}, method="PUT")
    ],
    ("POST", "/v1/rights/requests"): [
        sends("/v1/rights/requests", lambda n: {"kind": "access", "subject_ref": n.subject_ref, "identity_note": "-"})
    ],
    ("POST", "/v1/rights/holds"): [
        sends("/v1/rights/holds", lambda n: {"subject_ref": n.subject_ref, "reason": "dispute 7"})
    ],
    ("POST", "/v1/notices"): [
        sends(
            "/v1/notices",
            lambda n: {"notice_id": n.notice_id, "version": "3", "language": "fr", "title": "T", "text": "Another"},
        )
    ],
    ("POST", "/console/logout"): [sends("/console/logout")],
}
"""What is recorded, or would be: what names no person, or one whom anyone may name, at the end."""
EVERY = READING | WRITING
LISTS = {
    ("GET", "/v1/reviews"): "decision_id",
    ("GET", "/v1/rights/requests"): "request_id",
    ("GET", "/v1/rights/holds"): "hold_id",
    ("GET", "/v1/rights/audit"): "hold_id",
    ("GET", "/v1/notices"): "notice_id",
    ("GET", "/v1/renewals"): "subject_ref",
    ("GET", "/console/reviews"): "decision_id",
    ("GET", "/console/requests"): "request_id",
}
"""What is listed for globex of its person, whatever is asked for."""
OF_ANYONE = {
    ("GET", "/console/{rest}"),
    ("GET", "/p/{rest}"),
    ("GET", "/u/{rest}"),
    ("POST", "/v1/links"),
    *(
        ("GET", path)
        for path in (
            *("/openapi.json", "/docs", "/.well-known/gpc.json", "/v1/inbound/{source_id}"),
            *(
                "/u/{token}",
                "/u/{token}/accessibility",
                "/p",
                "/p/",
                "/p/{token}/accessibility",
                "/p/{token}/proof/pdf",
            ),
            *("/p/of/{tenant}", "/p/of/{tenant}/code", "/p/of/{tenant}/accessibility"),
            *("/console", "/console/", "/console/login", "/console/agent"),
        )
    ),
}
"""What is answered alike about a person who is known and one who is not."""


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path) of each route, whatever it is in."""

    def below(found: Any) -> Iterator[tuple[str, str]]:
        for route in found:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from below(inner.routes)
            else:
                assert isinstance(route, Route)
                path = re.sub(r":\w+\}", "}", route.path)
                yield from ((method, path) for method in route.methods or () if method != "HEAD")

    yield from below(app.routes)


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Of two tenants."""
    return generate(tmp_path_factory.mktemp("keyring") / "keyring.toml", ["acme", "globex"])


@pytest.fixture
def app(ledger: Ledger, tmp_path: Path) -> FastAPI:
    theme = selling(themes(tmp_path))["acme"]
    members = {"provider": "brevo", "channel": "email"}
    sources = {
        f"of-{tenant}": Source(id=f"of-{tenant}", tenant=tenant, **members).model_copy(update={"keys": (SECRET,)})
        for tenant in ("acme", "globex")
    }
    registry = CollectorRegistry()
    return create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(registry, channels=CHANNELS),
        health=Health(),
        themes={"acme": theme, "globex": theme},
        public_url="http://testserver",
        inbound=Inbound(sources=sources, metrics=InboundMetrics.on(registry, sources=sources)),
    )


@pytest.fixture
def callers(app: FastAPI, owner_engine: Engine, keyring: Keyring) -> Iterator[dict[str, Caller]]:
    found = {}
    with TestClient(app):
        for tenant in ("acme", "globex"):
            with owner_engine.begin() as connection:
                token = key_store.create(
                    connection, tenant=tenant, scopes=SCOPES, name="Desk 7", now=now_micros(), may_lift=True
                )
            program = TestClient(
                app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False, follow_redirects=False
            )
            console = TestClient(app, headers=OWN, raise_server_exceptions=False, follow_redirects=False)
            assert console.post("/console/login", data={"key": token}).status_code == 303
            found[tenant] = Caller(tenant=tenant, program=program, console=console, keyring=keyring)
        yield found


def made(response: httpx.Response) -> Any:
    assert response.status_code < 300, response.text
    return response.json()


@pytest.fixture
def theirs(callers: dict[str, Caller], owner_engine: Engine, keyring: Keyring) -> Names:
    """A person of globex, with all that may be held about one."""
    globex, now = callers["globex"], now_micros()
    person = {"subject_ref": "theirs-58231", "channel": "sms", "address": "+33639985581", "purpose": "newsletter"}

    def post(path: str, body: Mapping[str, Any]) -> Any:
        return made(globex.program.post(path, json=body, headers={"Idempotency-Key": str(uuid4())}))

    post("/v1/notices", {"notice_id": "n-58231", "version": "3", "language": "fr", "title": "T", "text": "Some text"})
    evidence = {name: f"some {name}" for name in EVIDENCE}
    times = {"occurred_at": rfc3339(now - 100 * 86_400_000_000), "expires_at": rfc3339(now + 20 * 86_400_000_000)}
    mail = {**person, "channel": "email", "address": "theirs58231@example.com", "event_id": "e-mail-58231"}
    post("/v1/decisions", {**mail, "status": "given", **times, "evidence": evidence})
    stop = post("/v1/decisions", {**person, "status": "withdrawn", "event_id": "e-58231", "evidence": REPLY})
    erased = {"subject_ref": "theirs-58232", "channel": "sms", "address": "+33639985582", "purpose": "*"}
    post("/v1/decisions", {**erased, "status": "withdrawn"})
    review = NewReview(
        tenant="globex", channel="sms", source="of-globex", rule="r", decision_ids=[stop["decision_id"]], reply="stop?"
    )
    with owner_engine.begin() as connection:
        assert renewals.note_ending(connection, keyring, days=30, now=now, most=10) == 1
        reviews.insert(connection, keyring, [review], now=now)
        (review_id,) = connection.execute(text("SELECT review_id FROM reviews")).scalars()
    found = globex.console.post(
        "/console/search", data={"form": form_token(globex.session, "search"), "query": person["subject_ref"]}
    )
    request = {"kind": "erasure", "subject_ref": person["subject_ref"], "identity_note": "seen"}
    allowed = globex.program.post("/v1/allow-once", json={"channel": "sms", "address": person["address"]})
    return Names(
        subject_ref=person["subject_ref"],
        number=person["address"],
        email=mail["address"],
        event_id="e-58231",
        decision_id=stop["decision_id"],
        request_id=post("/v1/rights/requests", request)["request_id"],
        review_id=str(review_id),
        erasure_id=post("/v1/rights/erasures", {"subject_ref": "theirs-58232"})["erasure_id"],
        hold_id=post("/v1/rights/holds", {"subject_ref": person["subject_ref"], "reason": "dispute"})["hold_id"],
        notice_id="n-58231",
        address_key=keyring.address_key("globex", "sms", person["address"]),
        allow_once=made(allowed)["token"],
        page_id=found.headers["location"].rpartition("/")[2].partition("?")[0],
    )


@pytest.fixture
def unknown(theirs: Names, keyring: Keyring) -> Names:
    """Names of the same form, which no tenant has."""
    key = keyring.address_key("globex", "sms", "+33639985583")
    return Names(
        subject_ref="unknown-58233",
        number="+33639985583",
        email="unknown58233@example.com",
        event_id="e-58233",
        **{name: str(uuid4()) for name in ("decision_id", "request_id", "review_id", "erasure_id", "hold_id")},
        notice_id="n-58233",
        address_key=key,
        allow_once=f"{uuid4()}.{key}",
        page_id=theirs.page_id[:-4] + "AAAA",
    )


def held_of(engine: Engine, tenant: str) -> dict[str, list[str]]:
    """Every row of a tenant, by table."""
    tables = {
        name: [column["name"] for column in inspect(engine).get_columns(name)]
        for name in inspect(engine).get_table_names()
    }
    with engine.connect() as connection:
        return {
            name: sorted(map(repr, connection.execute(text(f"SELECT * FROM {name} WHERE tenant = :t"), {"t": tenant})))
            for name, columns in tables.items()
            if "tenant" in columns
        }


Answer = tuple[int, str, str]


def answer(call: Call, caller: Caller, names: Names) -> Answer:
    """Status, Location and body, in which the names are words."""
    response = call(caller, names)
    assert response.status_code < 500, response.text
    # A PDF is made of what the HTML beside it is made of, and its bytes differ with each date.
    is_pdf = response.headers.get("content-type") == "application/pdf"
    location = names.written_out(response.headers.get("location", ""))
    return response.status_code, location, "PDF" if is_pdf else names.written_out(response.text)


def values(names: Names) -> list[str]:
    return [getattr(names, field.name) for field in fields(names)]


def calls(route: tuple[str, str]) -> list[Call]:
    return EVERY[route] or [asks(route[1])]


def test_every_route_is_tried(app: FastAPI) -> None:
    assert set(EVERY) == set(routes(app))


def test_one_tenant_learns_nothing_of_another_by_any_route(
    callers: dict[str, Caller], theirs: Names, unknown: Names, owner_engine: Engine
) -> None:
    before = held_of(owner_engine, "globex")
    learnt = []
    for route in EVERY:
        for number, call in enumerate(calls(route)):
            of_theirs, of_unknown = (answer(call, callers["acme"], names) for names in (theirs, unknown))
            if of_theirs != of_unknown:
                learnt.append(f"{route} {number}")
                learnt += unified_diff(*("\n".join(map(str, each)).splitlines() for each in (of_unknown, of_theirs)))
            # What acme has not named, it is not shown: not in any list.
            learnt += [f"{route} {number} shows {value}" for value in values(theirs) if value in of_unknown[2]]
    assert not learnt, "\n".join(learnt)
    assert held_of(owner_engine, "globex") == before


def test_a_tenant_is_answered_about_its_own(callers: dict[str, Caller], theirs: Names, unknown: Names) -> None:
    """So the names above are real ones."""
    alike = set()
    for route in READING:
        found = [[answer(call, callers["globex"], names) for call in calls(route)] for names in (theirs, unknown)]
        if route in LISTS:
            assert f"<{LISTS[route]}>" in found[0][0][2], route
        elif found[0] == found[1]:
            alike.add(route)
    assert sorted(alike) == sorted(OF_ANYONE)
