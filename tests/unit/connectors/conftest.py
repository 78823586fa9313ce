from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from propagator.connectors import CATALOGUE
from propagator.connectors.base import SUPPRESS, ConnectionSettings, Connector, Push
from provider_sandbox.app import create_app, start
from provider_sandbox.config import SandboxConfig


def a_push(number: int = 1, **values: Any) -> Push:
    given: dict[str, Any] = {
        "push_id": hashlib.sha256(str(number).encode()).hexdigest()[:32],
        "tenant": "acme",
        "channel": "email" if "@" in values.get("address", "") else "sms",
        "address_key": f"k1.{number}",
        "address": f"+3363998{number:04d}",
        "action": SUPPRESS,
        "target": "target",
        "purposes": ("newsletter",),
        "reason": "withdrawn",
        "decision_ids": ("d1",),
        "version": number,
        "occurred_at": 1_760_000_000_123_456,
        "recorded_at": 1_760_000_000_500_000,
    }
    return Push(**(given | values))


class Sandbox:
    """A running sandbox without latency, and connectors that point at it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self.url = url
        self._session = session
        self._stack = stack

    def connect(self, name: str, *, credentials: dict[str, str], path: str, **overrides: Any) -> Connector:
        connector_type = CATALOGUE[name]
        options = {key: option.default for key, option in connector_type.options.items()} | overrides.pop("options", {})
        given: dict[str, Any] = {
            "destination": "under-test",
            "tenant": "acme",
            "channel": "sms",
            "url": self.url + path,
            "credentials": credentials,
            "options": options,
            "targets": (),
            "timeout_seconds": 5.0,
        }
        connector = connector_type.build(ConnectionSettings(**(given | overrides)))
        self._stack.push_async_callback(connector.close)
        return connector

    async def order(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, self.url + path, json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json() if response.content_type == "application/json" else None

    async def calls(self, account: str) -> list[dict[str, Any]]:
        return list((await self.order("GET", f"/_requests/{account}"))["calls"])

    async def states(self, account: str) -> dict[str, dict[str, str]]:
        return dict((await self.order("GET", f"/_state/{account}"))["states"])


@pytest.fixture
async def open_sandbox() -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def opened(config: SandboxConfig | None = None) -> Sandbox:
            running = await start(create_app(config or SandboxConfig()))
            stack.push_async_callback(running.close)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            sandbox = Sandbox(running.url, session, stack)
            for account in ("twilio", "sendgrid", "genesys", "webhook"):
                await sandbox.order("PUT", f"/_control/latency/{account}", {"p50_ms": 0, "p99_ms": 0})
            return sandbox

        yield opened


@pytest.fixture
def push() -> Callable[..., Push]:
    return a_push
