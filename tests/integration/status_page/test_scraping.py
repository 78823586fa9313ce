"""Processes that answer anything: each is silent with its reason, within bounds of size and time. # R41 R43"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from prometheus_client import CollectorRegistry, Counter

from consent_service.health import Health, serve_metrics
from local_stack.ports import free_port
from status_page import scraping
from status_page.observed import Answer, Silence
from status_page.samples import Sample
from status_page.scraping import Scraper
from status_page.settings import Target
from tests.support.served import answering

NAME = "consent_relay_things_total"


def target(url: str) -> Target:
    return Target(name="relay", process="relay", url=url)


@pytest.fixture
async def scraper() -> AsyncIterator[Scraper]:
    made = Scraper({NAME})
    yield made
    await made.close()


def handler(write: Callable[[BaseHTTPRequestHandler], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            write(self)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


@asynccontextmanager
async def serving(write: Callable[[BaseHTTPRequestHandler], None]) -> AsyncIterator[str]:
    """Ends beside the event loop, which still has connections to close."""
    server = answering(handler(write))
    yield server.__enter__()
    await asyncio.to_thread(server.__exit__, None, None, None)


def body(content: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def write(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content)

    return write


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"# nothing\n" * 10_000)
    except OSError:
        return


def slow(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    until = time.monotonic() + 2 * scraping.SECONDS
    try:
        while time.monotonic() < until:
            request.wfile.write(b"#")
            time.sleep(0.1)
    except OSError:
        return


async def test_a_process_of_ours_answers(scraper: Scraper) -> None:
    registry, health = CollectorRegistry(), Health(expected=["database"])
    Counter(NAME, "Things that happened.", registry=registry).inc(3)
    server = serve_metrics(registry, health, "127.0.0.1", 0)
    try:
        of = target(f"http://127.0.0.1:{server.port}")
        assert await scraper.read(of) == Answer(samples={NAME: [Sample({}, 3.0)]}, not_ready="database: not started")
        health.set_ready("database", "refuses someone@example.com")
        assert await scraper.read(of) == Answer(
            samples={NAME: [Sample({}, 3.0)]}, not_ready="database: refuses [redacted]"
        )
        health.set_ready("database", "restores " * 100)
        answer = await scraper.read(of)
        assert isinstance(answer, Answer)
        assert answer.not_ready.endswith(" ...")
        health.set_ready("database")
        assert await scraper.read(of) == Answer(samples={NAME: [Sample({}, 3.0)]})
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (endless, "too_large"),
        (slow, "timed_out"),
        (body(b"", status=500), "status"),
        (body(b"", status=302, Location="http://127.0.0.1:1/"), "status"),
        (body(f"{NAME} x\n".encode()), "unreadable"),
        (body(b"x" * 10, Content_Length="20"), "failed"),
        (body(b"", X_Long="x" * 20_000), "failed"),
        (lambda request: request.wfile.write(b"\x00\x16\x03\x01 not HTTP"), "failed"),
    ],
    ids=["endless", "slow", "error", "redirect", "garbage", "cut", "long header", "no http"],
)
async def test_whatever_answers_is_silent_with_a_reason(
    scraper: Scraper, answer: Callable[[BaseHTTPRequestHandler], None], reason: str
) -> None:
    async with serving(answer) as url:
        assert await scraper.read(target(url)) == Silence(reason=reason)


async def test_what_is_packed_is_not_unpacked(scraper: Scraper) -> None:
    packed = gzip.compress(f"{NAME} 1\n".encode() * 100_000)
    async with serving(body(packed, Content_Encoding="gzip")) as url:
        assert await scraper.read(target(url)) == Answer(samples={}, not_ready="")


async def test_where_nothing_listens_it_is_refused(scraper: Scraper) -> None:
    assert await scraper.read(target(f"http://127.0.0.1:{free_port()}")) == Silence(reason="refused")
