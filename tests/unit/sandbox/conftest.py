from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from provider_sandbox.app import create_app, start
from provider_sandbox.config import SandboxConfig
from provider_sandbox.provider_state import ChangeLog

AT_ONCE = {"p50_ms": 0, "p99_ms": 0}


class Client:
    """A plain HTTP client of one running sandbox."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        async with self._session.request(method, self.url + path, **options) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, (await answer.json() if is_json else await answer.text()), answer.headers

    async def state(self, account: str, query: str = "") -> dict[str, Any]:
        _, body, _ = await self.call("GET", f"/_state/{account}{query}")
        return body

    async def request_log(self, account: str) -> list[dict[str, Any]]:
        _, body, _ = await self.call("GET", f"/_requests/{account}")
        return body["calls"]


@pytest.fixture
async def open_sandbox() -> AsyncIterator[Callable[..., Any]]:
    """Starts sandboxes on free ports, without latency unless a test asks for it."""
    async with AsyncExitStack() as stack:

        async def opened(config: SandboxConfig | None = None, log: ChangeLog | None = None) -> Client:
            running = await start(create_app(config or SandboxConfig(), log))
            stack.push_async_callback(running.close)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            client = Client(running.url, session)
            for account in ("twilio", "sendgrid", "genesys", "webhook"):
                await client.call("PUT", f"/_control/latency/{account}", json=AT_ONCE)
            return client

        yield opened
