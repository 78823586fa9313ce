"""Genesys Cloud's internal DNC lists: OAuth2 tokens, PATCH to add or remove, and the DELETE that empties."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
from aiohttp import web

from provider_sandbox.beliefs import PERMITTED, SUPPRESSED, Beliefs
from provider_sandbox.config import GenesysOrg
from provider_sandbox.faults import Faults
from provider_sandbox.limits import Admission
from provider_sandbox.provider import CALL, basic_credentials, bearer_token, json_answer, same

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class _Patch(msgspec.Struct):
    action: Literal["Add", "Remove"]
    phoneNumbers: list[str]
    expirationDateTime: str | None = None


class Genesys:
    """One organisation's lists; a target is a list id."""

    name = "genesys"

    def __init__(self, org: GenesysOrg, beliefs: Beliefs, faults: Faults) -> None:
        self.limit, self.latency = org.limit, org.latency
        self._org = org
        self._beliefs = beliefs
        self._faults = faults
        self._tokens: dict[str, float] = {}

    def account_of(self, path: str) -> str:
        return self.name

    def routes(self) -> list[web.RouteDef]:
        one, known = "/genesys/api/v2/outbound/dnclists/{list}", self._authenticated
        return [
            web.post("/genesys/oauth/token", self._token),
            web.get(one, known(self._describe)),
            web.patch(one + "/phonenumbers", known(self._patch)),
            web.delete(one + "/phonenumbers", known(self._empty)),
        ]

    def throttled(self, admission: Admission) -> web.Response:
        answer = _problem(429, "too.many.requests", "Rate limit exceeded the maximum")
        answer.headers["Retry-After"] = str(int(admission.reset_seconds) + 1)
        return answer

    def mark(self, response: web.StreamResponse, admission: Admission) -> None:
        response.headers["ININ-Correlation-Id"] = secrets.token_hex(16)
        if admission.limit:
            response.headers["inin-ratelimit-allowed"] = str(admission.limit)
            response.headers["inin-ratelimit-count"] = str(admission.limit - admission.remaining)
            response.headers["inin-ratelimit-reset"] = str(int(admission.reset_seconds) + 1)

    def expire_tokens(self) -> None:
        """Every token handed out so far is refused from now on."""
        self._tokens.clear()

    async def _token(self, request: web.Request) -> web.Response:
        credentials = basic_credentials(request)
        form = await request.post()
        if credentials is None or not (
            same(credentials[0], self._org.client_id) and same(credentials[1], self._org.client_secret)
        ):
            return json_answer(401, {"error": "invalid_client", "description": "client not found"})
        if form.get("grant_type") != "client_credentials":
            return json_answer(400, {"error": "unsupported_grant_type"})
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + self._org.token_seconds
        return json_answer(
            200,
            {"access_token": token, "token_type": "bearer", "expires_in": max(1, int(self._org.token_seconds))},
        )

    def _authenticated(self, handler: _Handler) -> _Handler:
        async def guarded(request: web.Request) -> web.Response:
            token = bearer_token(request)
            if token is None or self._tokens.get(token, 0.0) <= time.monotonic():
                return _problem(401, "bad.credentials", "Invalid login credentials.")
            if request.match_info["list"] not in self._org.lists:
                return _problem(404, "not.found", "The requested resource was not found.")
            return await handler(request)

        return guarded

    async def _describe(self, request: web.Request) -> web.Response:
        target = request.match_info["list"]
        body: dict[str, Any] = {"id": target, "name": self._org.lists[target], "dncSourceType": "rds"}
        if request.query.get("includeSize") == "true":
            body["size"] = len(self._beliefs.suppressed_at(self.name, target))
        return json_answer(200, body)

    async def _patch(self, request: web.Request) -> web.Response:
        try:
            patch = msgspec.json.decode(await request.read(), type=_Patch)
        except msgspec.DecodeError:
            return _problem(400, "bad.request", "The request could not be understood.")
        call, numbers = request[CALL], patch.phoneNumbers
        call.addresses, call.action = list(numbers), patch.action
        if patch.action == "Add" and len(numbers) > self._org.additions_per_call:
            return _problem(413, "request.entity.too.large", "The request is over the size limit.")
        if patch.action == "Remove" and len(numbers) > self._org.removals_per_call:
            return _problem(400, "dnc.delete.entries.max.per.request.exceeded", "Too many entries.")
        refused = [n for n in numbers if not n.startswith("+") or self._faults.rejection(self.name, n) is not None]
        if refused:
            return _problem(400, "invalid.phone.number", "A phone number is not valid.")
        state = SUPPRESSED if patch.action == "Add" else PERMITTED
        for number in numbers:
            self._beliefs.tell(self.name, number, request.match_info["list"], state)
        return web.Response(status=204)

    async def _empty(self, request: web.Request) -> web.Response:
        """Without expiredOnly=true the whole list goes, as it does at the real provider."""
        request[CALL].action = "Delete"
        if request.query.get("expiredOnly") != "true":
            self._beliefs.lift_all(self.name, request.match_info["list"])
        return web.Response(status=204)


def _problem(status: int, code: str, message: str) -> web.Response:
    return json_answer(status, {"status": status, "code": code, "message": message, "contextId": secrets.token_hex(8)})
