"""Scanners fetch every link of ten thousand mails, and follow what they find: no one is withdrawn. # R19"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlencode, urljoin, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text
from starlette.types import Message

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_service.health import Health
from tests.integration.consent_api.accepted import decision
from tests.support.themes import CHANNELS, selling, themes

T = TypeVar("T")

PUBLIC_URL = "https://choices.example.com"
MAILS = 10_000
CRAWLED = 200
AT_ONCE = 16
HEADERS = [(b"sec-gpc", b"1"), (b"sec-fetch-site", b"none"), (b"accept-language", b"en"), (b"user-agent", b"scanner")]
"""As they come: without a session, with the headers of a browser, and its signal not to sell."""
WRITTEN = ("decisions", "outbox", "outbox_bulk", "pauses", "rights_requests", "reviews", "idempotency_keys")
"""What a choice or a request of a person would be in."""
_SAME = re.compile(r"(?:form|lang)=[^&]*")
"""What differs between two URLs of one page: its form's token, which is another one each time, and the language."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Scanner:
    """Calls the application by ASGI itself: 40,000 calls by httpx take twice as long."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def call(self, method: str, url: str) -> Answer:
        parts = urlsplit(url)
        received: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            received.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": parts.scheme,
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(b"host", parts.netloc.encode()), *HEADERS],
            "client": ("192.0.2.1", 40_000),
            "server": (parts.hostname, 443),
            "state": {},
        }
        await self._app(scope, receive, send)
        start, *rest = received
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(each.get("body", b"") for each in rest).decode("latin-1"))

    async def look(self, url: str) -> None:
        for method in ("GET", "HEAD"):
            answer = await self.call(method, url)
            assert answer.status == 200, (method, answer.status, answer.text[:200])
            assert "set-cookie" not in answer.headers

    async def crawl(self, mail: Iterable[str]) -> int:
        """By GET, what the links of a mail lead to, and what that leads to, and so on; how many pages there are."""
        waiting, seen = list(mail), set[str]()
        while waiting:
            url = waiting.pop()
            page = _SAME.sub("", url)
            if page in seen or not url.startswith(PUBLIC_URL):
                continue
            seen.add(page)
            answer = await self.call("GET", url)
            assert answer.status == 200, (url, answer.status)
            if answer.headers["content-type"].startswith("text/html"):
                waiting += Page(url, answer.text).leads_to
        return len(seen)


class Page(HTMLParser):
    """Where a page leads: its links, and its forms as a script would send them by GET, by each of their buttons."""

    def __init__(self, url: str, content: str) -> None:
        super().__init__()
        self._url = url
        self._action = ""
        self._fields: dict[str, str] = {}
        self.leads_to: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in of:
            self.leads_to.append(urljoin(self._url, of["href"]))
        elif tag == "form":
            self._action, self._fields = urljoin(self._url, of["action"]), {}
            self.leads_to.append(self._action)
        elif tag == "input":  # Of the answers to one question the last one, a refusal or a pause.
            self._fields[of["name"]] = of.get("value", "")
        elif tag == "button":
            pressed = {of["name"]: of["value"]} if "name" in of else {}
            self.leads_to.append(f"{self._action}&{urlencode(self._fields | pressed)}")


@pytest.fixture
async def app(ledger: Ledger, metrics_registry: CollectorRegistry, tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(metrics_registry, channels=CHANNELS),
        health=Health(),
        themes=selling(themes(tmp_path)),
        public_url=PUBLIC_URL,
    )
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def program(app: FastAPI, api_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """What sends the mails."""
    headers = {"Authorization": f"Bearer {api_key}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=PUBLIC_URL, headers=headers) as program:
        yield program


@pytest.mark.parametrize("link", ["unsubscribe", "preferences"])
async def test_scanners_that_fetch_a_link_of_each_of_ten_thousand_mails_withdraw_no_one(
    app: FastAPI, program: httpx.AsyncClient, owner_engine: Engine, link: str
) -> None:
    mails = await links_of(program, MAILS)
    assert len({mail[link] for mail in mails}) == MAILS
    scanner = Scanner(app)
    await in_parallel(scanner.look(mail[link]) for mail in mails)
    assert not any(written(owner_engine).values())


async def test_scanners_that_follow_all_that_a_mail_leads_to_withdraw_no_one(
    app: FastAPI, program: httpx.AsyncClient, ledger: Ledger, owner_engine: Engine
) -> None:
    mails = await links_of(program, CRAWLED)
    given = [decision("given", channel="email", address=address(at), purpose="promotions") for at in range(CRAWLED)]
    ledger.record(given)
    before = written(owner_engine)
    assert before["decisions"] == CRAWLED
    scanner = Scanner(app)
    pages = await in_parallel(scanner.crawl((mail["unsubscribe"], mail["preferences"])) for mail in mails)
    assert min(pages) > 15, "a crawl sees the pages behind the two links, and what their forms would ask for"
    assert written(owner_engine) == before
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT DISTINCT status FROM decisions")).scalars().all() == ["given"]


async def links_of(program: httpx.AsyncClient, mails: int) -> list[dict[str, str]]:
    """By one call."""
    wanted = [{"channel": "email", "address": address(at), "purpose": "promotions"} for at in range(mails)]
    made = await program.post("/v1/links", json={"links": wanted}, timeout=60)
    assert made.status_code == 200, made.text
    found: list[dict[str, str]] = made.json()["links"]
    assert all(each["list_unsubscribe"] == f"<{each['unsubscribe']}>" for each in found)
    return found


def address(number: int) -> str:
    return f"reader{number}@example.com"


def written(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in WRITTEN}


async def in_parallel(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    waiting = iter(work)
    found: list[T] = []

    async def one_after_another() -> None:
        for each in waiting:
            found.append(await each)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    return found
