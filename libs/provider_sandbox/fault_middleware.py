"""What every provider call passes through: the log, outage, faults, limit and latency, then the provider itself."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Sequence
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from provider_sandbox import latency
from provider_sandbox.config import Latency, Limit
from provider_sandbox.faults import Fault, Faults
from provider_sandbox.limits import SlidingWindow
from provider_sandbox.provider import CALL, Provider
from provider_sandbox.request_log import Call, RequestLog

Outage = Literal["reset", "unavailable"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_HALF_AN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n" + b'{"items":[{"'
_NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not the protocol you expect\r\n\r\n"
_A_PAGE = "<!doctype html><title>Welcome</title><p>Please sign in to continue."


class FaultMiddleware:
    """The middleware, and the switches of each account that the control API turns."""

    def __init__(self, providers: Sequence[Provider], request_log: RequestLog, faults: Faults) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._request_log = request_log
        self._faults = faults
        self._random = random.Random()  # noqa: S311 - answer times, not secrets
        self._outages: dict[str, Outage] = {}
        self._latencies: dict[str, Latency] = {}
        self._limits: dict[str, Limit] = {}
        self._windows: dict[str, SlidingWindow] = {}

    def set_outage(self, account: str, outage: Outage | None) -> None:
        if outage is None:
            self._outages.pop(account, None)
        else:
            self._outages[account] = outage

    def set_latency(self, account: str, value: Latency) -> None:
        self._latencies[account] = value

    def set_limit(self, account: str, limit: Limit) -> None:
        self._limits[account] = limit
        self._windows.pop(account, None)

    def relax(self, account: str | None) -> None:
        """Back to how the account (or all) was configured: no outage, its own latency and limit, an empty window."""
        for switches in (self._outages, self._latencies, self._limits, self._windows):
            if account is None:
                switches.clear()
            else:
                switches.pop(account, None)

    def outages(self) -> dict[str, Outage]:
        return dict(self._outages)

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
            provider = self._providers.get(request.path.split("/", 2)[1])
            return await (handler(request) if provider is None else self._pass(provider, request, handler))

        return through

    async def _pass(self, provider: Provider, request: web.Request, handler: Handler) -> web.StreamResponse:
        account = provider.account_of(request.path)
        call = self._request_log.arrived(account, request.method, request.path)
        request[CALL] = call
        outage = self._outages.get(account)
        if outage == "reset":
            return _reset(request, call, "outage")
        fault = self._faults.take(account, request.path)
        if fault is not None:
            call.fault = fault.kind
        if fault is not None and fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
            return _reset(request, call, "hang")
        if fault is not None and fault.kind == "reset":
            return _reset(request, call, "reset")
        # The whole request is taken before the wait: a slow provider goes on with it when the caller has given up.
        await request.read()
        await asyncio.sleep(latency.sample(self._latencies.get(account, provider.latency), self._random))
        if fault is not None and fault.kind == "late":
            await asyncio.sleep(fault.seconds)
        if outage == "unavailable":
            response: web.StreamResponse = web.Response(status=503, text="Service Unavailable")
        elif fault is not None and fault.kind == "status":
            response = _answer_of(fault)
        else:
            response = await self._answer(provider, account, request, handler)
            if fault is not None and fault.kind != "late":
                return _corrupt(request, response, call, fault)
        call.status = response.status
        return response

    async def _answer(
        self, provider: Provider, account: str, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        window = self._windows.get(account)
        if window is None:
            window = self._windows[account] = SlidingWindow(self._limits.get(account, provider.limit))
        admission = window.admit()
        try:
            response = await handler(request) if admission.admitted else provider.throttled(admission)
        except web.HTTPException as error:  # aiohttp's own 404 and 405
            response = web.Response(status=error.status, text=error.reason)
        provider.add_rate_limit_headers(response, admission)
        return response


def _answer_of(fault: Fault) -> web.Response:
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    return web.Response(status=fault.status, text=fault.body, headers=headers)


def _corrupt(request: web.Request, response: web.StreamResponse, call: Call, fault: Fault) -> web.StreamResponse:
    """The provider did what it was asked; the caller does not learn it."""
    if fault.kind == "malformed":
        call.status = 200
        return web.Response(status=200, text=_A_PAGE, content_type="text/html")
    transport = request.transport
    if transport is not None:
        transport.write(_HALF_AN_ANSWER if fault.kind == "cut" else _NOT_HTTP)
        transport.close()
    return response


def _reset(request: web.Request, call: Call, why: str) -> web.Response:
    """Close with RST instead of FIN, as a dead host or a firewall does."""
    call.fault = why
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response(status=503)
