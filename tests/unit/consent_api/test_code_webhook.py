"""How a code is handed to the operator's webhook: signed, again after a failure, and to public hosts only. # R20"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry, Counter
from standardwebhooks.webhooks import Webhook

from consent_api.links.code_webhook import CodeMessage, CodeWebhook
from consent_service.clock import now_micros
from consent_service.retry import Backoff

SECRET = secrets.token_bytes(32)
EMAIL = "someone@example.com"


class Receiver:
    """Answers with the statuses given, and then with 204."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def receive(self, request: web.Request) -> web.Response:
        self.received.append({name.lower(): value for name, value in request.headers.items()})
        self.bodies.append(await request.read())
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 307 else {})


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    receiver, app = Receiver(), web.Application()
    app.router.add_route("*", "/{any:.*}", receiver.receive)
    async with TestServer(app) as server:
        yield receiver, str(server.make_url("/codes"))


def message(expires_in: float = 600.0) -> CodeMessage:
    return CodeMessage(
        tenant="acme",
        channel="email",
        address=EMAIL,
        code="012345",
        language="fr",
        brand="Maison Acme",
        expires_at=now_micros() + int(expires_in * 1e6),
    )


def outcomes() -> tuple[Counter, Callable[[str], float | None]]:
    registry = CollectorRegistry()
    counter = Counter("codes", "", ["outcome"], registry=registry)
    return counter, lambda outcome: registry.get_sample_value("codes_total", {"outcome": outcome})


async def handed_over(url: str, *, allow_private: bool = True, message: CodeMessage) -> Callable[[str], float | None]:
    webhook = CodeWebhook(url, secret=lambda: SECRET, allow_private=allow_private, backoff=Backoff((0.0,)))
    counter, count = outcomes()
    webhook.hand_over(message, counter)
    deadline = time.monotonic() + 30
    while count("sent") is None and count("not_sent") is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await webhook.close()
    return count


async def test_the_message_is_signed_as_standard_webhooks_are(receiver: tuple[Receiver, str]) -> None:
    got, url = receiver
    count = await handed_over(url, message=message())
    assert count("sent") == 1
    (headers,), (body,) = got.received, got.bodies
    found = Webhook("whsec_" + base64.b64encode(SECRET).decode()).verify(body, headers)
    assert found == json.loads(body)
    assert found["type"] == "code.requested"
    assert found["data"] | {"expires_at": ""} == {
        "tenant": "acme",
        "channel": "email",
        "address": EMAIL,
        "code": "012345",
        "language": "fr",
        "brand": "Maison Acme",
        "expires_at": "",
    }


async def test_a_failure_is_tried_again_under_the_same_id(receiver: tuple[Receiver, str]) -> None:
    got, url = receiver
    got.statuses = [503, 429]
    assert (await handed_over(url, message=message()))("sent") == 1
    assert len({each["webhook-id"] for each in got.received}) == 1
    assert len(got.received) == 3


@pytest.mark.parametrize("status", [400, 307])
async def test_what_is_refused_or_redirected_is_not_tried_again(
    receiver: tuple[Receiver, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    got, url = receiver
    got.statuses = [status] * 9
    with caplog.at_level(logging.ERROR):
        assert (await handed_over(url, message=message()))("not_sent") == 1
    assert len(got.received) == 1
    assert EMAIL not in caplog.text
    assert "012345" not in caplog.text
    assert "could not be handed" in caplog.text


async def test_no_code_is_sent_that_would_arrive_too_late(receiver: tuple[Receiver, str]) -> None:
    got, url = receiver
    got.statuses = [503] * 9
    assert (await handed_over(url, message=message(expires_in=0.0)))("not_sent") == 1
    assert len(got.received) == 1


async def test_a_private_host_is_not_called(receiver: tuple[Receiver, str]) -> None:
    got, url = receiver
    count = await handed_over(url.replace("127.0.0.1", "localhost"), allow_private=False, message=message())
    assert count("not_sent") == 1
    assert got.received == []
