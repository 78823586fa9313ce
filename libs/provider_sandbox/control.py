"""How tests, the demo and chaos steer the sandbox (/_control) and read what it holds (/_state, /_requests)."""

from __future__ import annotations

import hmac
from typing import Any, Literal, TypeVar

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from provider_sandbox.config import Latency, Limit
from provider_sandbox.fault_middleware import FaultMiddleware
from provider_sandbox.faults import Fault, Faults
from provider_sandbox.genesys import Genesys
from provider_sandbox.provider import json_answer
from provider_sandbox.provider_state import ProviderState
from provider_sandbox.request_log import RequestLog
from provider_sandbox.webhook import Webhook

T = TypeVar("T")


PATHS = ("/_control", "/_state", "/_requests")
USER = "control"


def restricted_to(token: str) -> Middleware:
    """Answers 401 to requests for PATHS without HTTP Basic credentials of USER and this token."""
    expected = aiohttp.encode_basic_auth(USER, token).encode()

    @web.middleware
    async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if request.path.startswith(PATHS) and not hmac.compare_digest(given, expected):
            return web.Response(status=401, text="needs the control token", headers={"WWW-Authenticate": "Basic"})
        return await handler(request)

    return through


class _Outage(msgspec.Struct, forbid_unknown_fields=True):
    mode: Literal["reset", "unavailable", "off"]


class Control:
    """
    POST   /_control/faults              one fault or a list of them (faults.py), in force at once
    GET    /_control/faults              those still in force
    DELETE /_control/faults[?account=]   withdraw them
    PUT    /_control/outage/{account}    {"mode": "reset" | "unavailable" | "off"}
    PUT    /_control/latency/{account}   {"p50_ms": 10, "p99_ms": 60}
    PUT    /_control/limit/{account}     {"calls": 100, "seconds": 60}; 0 calls: no limit
    PUT    /_control/genesys             members of GenesysOrg (config.py) that replace those in force
    POST   /_control/genesys/expire-tokens
    POST   /_control/reset[?account=]    forget states, calls, faults and switches
    GET    /_state                       counts and calls by account
    GET    /_state/{account}[?details=1] address -> target -> state (or with times, counts and history)
    GET    /_requests/{account}[?after=n] the calls that arrived, oldest first
    """

    def __init__(
        self,
        provider_state: ProviderState,
        request_log: RequestLog,
        faults: Faults,
        fault_middleware: FaultMiddleware,
        genesys: Genesys,
        webhook: Webhook,
    ) -> None:
        self._provider_state = provider_state
        self._request_log = request_log
        self._faults = faults
        self._fault_middleware = fault_middleware
        self._genesys = genesys
        self._webhook = webhook

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_control/faults", self._add_faults),
            web.get("/_control/faults", self._list_faults),
            web.delete("/_control/faults", self._withdraw_faults),
            web.put("/_control/outage/{account:.+}", self._set_outage),
            web.put("/_control/latency/{account:.+}", self._set_latency),
            web.put("/_control/limit/{account:.+}", self._set_limit),
            web.put("/_control/genesys", self._change_genesys),
            web.post("/_control/genesys/expire-tokens", self._expire_tokens),
            web.post("/_control/reset", self._reset),
            web.get("/_state", self._overview),
            web.get("/_state/{account:.+}", self._state),
            web.get("/_requests/{account:.+}", self._calls),
        ]

    async def _add_faults(self, request: web.Request) -> web.Response:
        body = (await request.read()).strip()
        wanted = await _read(request, list[Fault]) if body.startswith(b"[") else [await _read(request, Fault)]
        for fault in wanted:
            self._faults.add(fault)
        return await self._list_faults(request)

    async def _list_faults(self, request: web.Request) -> web.Response:
        return json_answer(200, self._faults.in_force())

    async def _withdraw_faults(self, request: web.Request) -> web.Response:
        self._faults.withdraw(request.query.get("account"))
        return web.Response(status=204)

    async def _set_outage(self, request: web.Request) -> web.Response:
        mode = (await _read(request, _Outage)).mode
        self._fault_middleware.set_outage(request.match_info["account"], None if mode == "off" else mode)
        return web.Response(status=204)

    async def _set_latency(self, request: web.Request) -> web.Response:
        self._fault_middleware.set_latency(request.match_info["account"], await _read(request, Latency))
        return web.Response(status=204)

    async def _set_limit(self, request: web.Request) -> web.Response:
        self._fault_middleware.set_limit(request.match_info["account"], await _read(request, Limit))
        return web.Response(status=204)

    async def _change_genesys(self, request: web.Request) -> web.Response:
        try:
            self._genesys.change(await _read(request, dict[str, Any]))
        except msgspec.ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(status=204)

    async def _expire_tokens(self, request: web.Request) -> web.Response:
        self._genesys.expire_tokens()
        return web.Response(status=204)

    async def _reset(self, request: web.Request) -> web.Response:
        account = request.query.get("account")
        self._provider_state.forget(account)
        self._request_log.forget(account)
        self._faults.withdraw(account)
        self._fault_middleware.relax(account)
        if account is None or account.startswith(self._webhook.name):
            self._webhook.forget(account)
        return web.Response(status=204)

    async def _overview(self, request: web.Request) -> web.Response:
        accounts = sorted({*self._provider_state.accounts(), *self._request_log.counts()})
        return json_answer(
            200,
            {
                "accounts": {
                    account: {
                        "calls": self._request_log.count(account),
                        "addresses": (snapshot := self._provider_state.snapshot(account))["addresses"],
                        "counts": snapshot["counts"],
                    }
                    for account in accounts
                },
                "outages": self._fault_middleware.outages(),
            },
        )

    async def _state(self, request: web.Request) -> web.Response:
        account = request.match_info["account"]
        snapshot = self._provider_state.snapshot(account, details=request.query.get("details") == "1")
        return json_answer(200, {**snapshot, "calls": self._request_log.count(account)})

    async def _calls(self, request: web.Request) -> web.Response:
        account, after = request.match_info["account"], request.query.get("after", "0")
        if not after.isdigit():
            raise web.HTTPBadRequest(text="after: a call number")
        calls = self._request_log.calls(account, after=int(after))
        return json_answer(
            200, {"account": account, "count": self._request_log.count(account), "calls": [c.as_json() for c in calls]}
        )


async def _read(request: web.Request, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=wanted)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
