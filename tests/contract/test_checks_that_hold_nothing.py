"""A check must not stop a revocation that would have arrived: what a tool is asked at start and does not answer is
reported, and pushes go on. # R26"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from aiohttp import web

from propagator.connectors import CATALOGUE, twilio
from propagator.connectors.base import SUPPRESS, Accepted, ConnectionSettings, Push
from propagator.errors import UnknownTargetsError
from propagator.sending.account_check import AccountCheck
from propagator.sending.rate_limiter import RateLimiter
from tests.support.call_budget import CountedBudget

SID = "AC" + "0" * 32
SERVICES = tuple(f"MG{number}" + "1" * 31 for number in range(3))
CREDENTIALS: Mapping[str, Mapping[str, str]] = {
    "twilio": {"account_sid": SID, "auth_token": "made-up"},
    "sendgrid": {"api_key": "SG.made-up"},
    "webhook": {"secret": "whsec_" + "d3Jvbmcg" * 4},
}
ADDRESSES = {"twilio": "+33639980001", "sendgrid": "who@example.com", "webhook": "who@example.com"}
TARGETS = {"twilio": SERVICES, "sendgrid": ("global",), "webhook": ("news",)}


async def take_consents(request: web.Request) -> web.Response:
    items = [msgspec.json.decode(each) for each in parse_qs(await request.text())["Items"]]
    answers = [{"correlation_id": each["correlation_id"], "error_code": 0, "error_messages": []} for each in items]
    return web.json_response({"items": answers}, status=201)


async def take_suppressions(request: web.Request) -> web.Response:
    return web.json_response(await request.json(), status=201)


async def take_message(_request: web.Request) -> web.Response:
    return web.Response(status=204)


Tool = Callable[..., Awaitable[str]]


@pytest.fixture
async def tool() -> AsyncIterator[Tool]:
    """Starts one that serves the path of pushes, and of the reads those that are given; returns its URL."""
    runners: list[web.AppRunner] = []

    async def started(reads: Mapping[str, tuple[int, Any]] = {}) -> str:
        async def answer(request: web.Request) -> web.Response:
            status, body = reads.get(request.path.rpartition("/")[2], (404, {"detail": "no such path"}))
            return web.json_response(body, status=status)

        app = web.Application()
        app.router.add_post("/v1/Consents/Bulk", take_consents)
        app.router.add_post("/v3/asm/suppressions/global", take_suppressions)
        app.router.add_post("/messages", take_message)
        app.router.add_get("/{any:.*}", answer)
        runners.append(runner := web.AppRunner(app))
        await runner.setup()
        await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
        return site.name

    yield started
    for each in runners:
        await each.cleanup()


@pytest.fixture
def silent() -> Any:
    """The URL of a host that takes connections and never answers, as behind a firewall that drops packets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def connection(name: str, url: str | None, **options: Any) -> ConnectionSettings:
    defaults = {each: option.default for each, option in CATALOGUE[name].options.items()}
    if name == "webhook":
        options = {"allow_private": True, **options}
    return ConnectionSettings(
        destination="under-test",
        tenant="acme",
        channel="sms" if name == "twilio" else "email",
        url=url,
        credentials=CREDENTIALS[name],
        options={**defaults, **options},
        targets=TARGETS[name],
    )


async def started_and_pushed(settings: ConnectionSettings, name: str) -> str:
    """What the check at start doubts, once a revocation was taken."""
    connector = CATALOGUE[name].build(settings)
    clock = asyncio.get_running_loop().time
    check = AccountCheck(
        "under-test",
        connector,
        RateLimiter(per_second=100, burst=100, clock=clock),
        on_verified=lambda _state: None,
        heartbeat=lambda: None,
        clock=clock,
        rng=random.Random(1),
    )
    try:
        async with asyncio.timeout(5):
            assert await check.wait_until_verified() == {}
        [outcome] = await connector.push([revocation(name)], guard=lambda: True, budget=CountedBudget())
    finally:
        await connector.close()
    assert isinstance(outcome, Accepted)
    assert check.found.doubt is not None
    return check.found.doubt


def revocation(name: str) -> Push:
    return Push(
        push_id="1" * 32,
        tenant="acme",
        channel="sms" if name == "twilio" else "email",
        address_key="k1.1",
        address=ADDRESSES[name],
        action=SUPPRESS,
        target=TARGETS[name][0],
        purposes=("newsletter",),
        reason="withdrawn",
        decision_ids=("019aa000-0000-7000-8000-000000000001",),
        version=1_760_000_000_000_001,
        occurred_at=1_760_000_000_000_000,
        recorded_at=1_760_000_000_500_000,
    )


async def test_a_proxy_that_forwards_the_calls_that_matter_alone(tool: Tool) -> None:
    url = await tool()
    doubt = await started_and_pushed(connection("twilio", url), "twilio")
    assert "account not looked up: 404" in doubt
    assert "Messaging Services not looked up: 404" in doubt
    assert "404" in await started_and_pushed(connection("sendgrid", url), "sendgrid")


@pytest.mark.parametrize("blocked", ["closed", "silent"])
async def test_an_egress_that_lets_nothing_but_consents_through(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, blocked: str
) -> None:
    host = request.getfixturevalue(blocked)
    monkeypatch.setattr(twilio, "HOST", await tool())
    monkeypatch.setattr(twilio, "ACCOUNTS_HOST", host)
    monkeypatch.setattr(twilio, "SERVICES_HOST", host)
    monkeypatch.setattr(twilio, "MAX_DOUBT_SECONDS", 0.3)
    doubt = await started_and_pushed(connection("twilio", None), "twilio")
    assert doubt.count(host.removeprefix("http://")) == 2, "each host that has to be opened is named"


@pytest.mark.parametrize("path", ["/nowhere", "closed"])
async def test_a_check_url_that_is_wrong(tool: Tool, closed: str, path: str) -> None:
    url = await tool()
    check_url = closed if path == "closed" else url + path
    doubt = await started_and_pushed(connection("webhook", f"{url}/messages", check_url=check_url), "webhook")
    assert doubt.startswith("`options.check_url`: ")


async def test_a_service_that_may_not_be_read_hides_none_that_does_not_exist(tool: Tool) -> None:
    not_found = {"code": 20404, "message": "The requested resource was not found"}
    url = await tool(
        {
            f"{SID}.json": (200, {"status": "active"}),
            SERVICES[0]: (404, not_found),
            SERVICES[1]: (403, {"code": 70051, "message": "Authorization Failed"}),
        }
    )
    connector = CATALOGUE["twilio"].build(connection("twilio", url))
    with pytest.raises(UnknownTargetsError) as raised:
        await connector.verify(budget=CountedBudget())
    await connector.close()
    assert set(raised.value.targets) == {SERVICES[0]}
