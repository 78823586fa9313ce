"""Genesys Cloud's internal DNC lists: OAuth2 tokens, PATCH to add or remove, and the DELETE that empties.

Codes are those of the specifications named below; no list of codes for PATCH could be had, so those of POST on
the same path replace it. Each answer carries its source, or `assumed`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
from aiohttp import web

from provider_sandbox.config import GenesysOrg
from provider_sandbox.faults import Faults
from provider_sandbox.limits import Admission
from provider_sandbox.provider import ASSUMED, CALL, basic_credentials, bearer_token, json_answer, same, sourced
from provider_sandbox.provider_state import PERMITTED, SUPPRESSED, ProviderState

SDK = "platform-client-sdk-python 2026-05"
CODES = "platform-client-sdk-cli 2026-07"
ERRORS = "Genesys Cloud's general error codes, as its client libraries list them, read 2026-11"
LOGIN = "Genesys Cloud developer centre, client credentials, read 2026-11"
RATES = "Genesys Cloud developer centre, rate limits, read 2026-11"

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class _Patch(msgspec.Struct):
    action: Literal["Add", "Remove"]
    phoneNumbers: list[str]
    expirationDateTime: str | None = None


class Genesys:
    """One organisation's lists; a target is a list id."""

    name = "genesys"

    def __init__(self, org: GenesysOrg, provider_state: ProviderState, faults: Faults) -> None:
        self.limit, self.latency = org.limit, org.latency
        self._org = org
        self._provider_state = provider_state
        self._faults = faults
        self._tokens: dict[str, float] = {}

    def account_of(self, path: str) -> str:
        return self.name

    def routes(self) -> list[web.RouteDef]:
        outbound, known = "/genesys/api/v2/outbound", self._authenticated
        one = outbound + "/dnclists/{list}"
        return [
            web.post("/genesys/oauth/token", self._token),
            web.get(outbound + "/campaigns", known("outbound:campaign:view", self._campaigns)),
            web.get(one, known("outbound:dncList:view", self._describe)),
            web.patch(one + "/phonenumbers", known("outbound:dnc:edit", self._patch)),
            web.delete(one + "/phonenumbers", known("outbound:dnc:delete", self._empty)),
        ]

    def change(self, members: Mapping[str, Any]) -> None:
        """Replace members of the organisation: what a person does in its pages. Raises msgspec.ValidationError."""
        self._org = msgspec.convert({**msgspec.to_builtins(self._org), **members}, GenesysOrg)

    def throttled(self, admission: Admission) -> web.Response:
        answer = _problem(429, "too.many.requests", "Rate limit exceeded the maximum", source=RATES)
        answer.headers["Retry-After"] = str(int(admission.reset_seconds) + 1)
        return answer

    def add_rate_limit_headers(self, response: web.StreamResponse, admission: Admission) -> None:
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
            return sourced(json_answer(401, {"error": "invalid_client", "description": "client not found"}), LOGIN)
        if form.get("grant_type") != "client_credentials":
            return sourced(json_answer(400, {"error": "unsupported_grant_type"}), LOGIN)
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + self._org.token_seconds
        given = {"access_token": token, "token_type": "bearer", "expires_in": max(1, int(self._org.token_seconds))}
        return sourced(json_answer(200, given), LOGIN)

    def _authenticated(self, permission: str, handler: _Handler) -> _Handler:
        async def guarded(request: web.Request) -> web.Response:
            token = bearer_token(request)
            if token is None or self._tokens.get(token, 0.0) <= time.monotonic():
                return _problem(401, "bad.credentials", "Invalid login credentials.", source=ERRORS)
            if permission not in self._org.permissions:
                message = f"Unable to perform the requested action. You must have at least one of: [{permission}]"
                return _problem(403, "missing.any.permissions", message, source=ERRORS)
            if request.match_info.get("list") not in (None, *self._org.lists):
                return _problem(404, "not.found", "The requested resource was not found.", source=ERRORS)
            return await handler(request)

        return guarded

    async def _campaigns(self, request: web.Request) -> web.Response:
        size, number = int(request.query.get("pageSize", "25")), int(request.query.get("pageNumber", "1"))
        named = self._org.campaigns if self._org.campaigns is not None else {"every list": tuple(self._org.lists)}
        page = list(named.items())[(number - 1) * size : number * size]
        entities = [{"name": name, "dncLists": [{"id": each} for each in lists]} for name, lists in page]
        pages = -(-len(named) // size)
        body = {"entities": entities, "pageSize": size, "pageNumber": number, "total": len(named), "pageCount": pages}
        return sourced(json_answer(200, body), SDK)

    async def _describe(self, request: web.Request) -> web.Response:
        target = request.match_info["list"]
        body: dict[str, Any] = {
            "id": target,
            "name": self._org.lists[target],
            "dncSourceType": self._org.source_types.get(target, "rds"),
            "contactMethod": self._org.contact_methods.get(target, "Phone"),
        }
        if request.query.get("includeSize") == "true":
            body["size"] = len(self._provider_state.suppressed_at(self.name, target))
        return sourced(json_answer(200, body), SDK)

    async def _patch(self, request: web.Request) -> web.Response:
        try:
            patch = msgspec.json.decode(await request.read(), type=_Patch)
        except msgspec.DecodeError:
            return _problem(400, "bad.request", "The request could not be understood.", source=CODES)
        target = request.match_info["list"]
        call, numbers = request[CALL], patch.phoneNumbers
        call.addresses, call.action = list(numbers), patch.action
        if patch.action == "Add" and len(numbers) > self._org.additions_per_call:
            return _problem(413, "request.entity.too.large", "The request is over the size limit.", source=ASSUMED)
        if patch.action == "Remove" and len(numbers) > self._org.removals_per_call:
            return _problem(400, "dnc.delete.entries.max.per.request.exceeded", "Too many entries.", source=ASSUMED)
        if self._org.source_types.get(target, "rds") != "rds":
            return _problem(400, "dnc.source.operation.not.supported", "Not an internal list.", source=ASSUMED)
        for number in numbers:
            code = self._faults.rejection(self.name, number)
            if code is not None or not number.startswith("+"):
                # Documented is the code; that a number which cannot be called gets it is assumed.
                return _problem(400, code or "invalid.value", "A value is not valid.", source=ASSUMED)
        if patch.action == "Add" and (full := self._full(target, numbers)) is not None:
            return _problem(400, full, "The limit is exceeded.", source=CODES)
        state = SUPPRESSED if patch.action == "Add" else PERMITTED
        self._provider_state.record_all(self.name, numbers, target, state)
        return sourced(web.Response(status=204), SDK)

    def _full(self, target: str, numbers: list[str]) -> str | None:
        """The code with which a list or an organisation refuses numbers for which it has no space."""
        org = self._org
        most = self._provider_state.known(self.name) + len(numbers)
        if most <= org.numbers_per_list and most * len(org.lists) <= org.numbers_per_organization:
            return None  # Counting takes a while.
        held = {each: set(self._provider_state.suppressed_at(self.name, each)) for each in org.lists}
        held[target] |= set(numbers)
        if len(held[target]) > org.numbers_per_list:
            return "dnc.phone.numbers.per.list.limit.exceeded"
        if sum(map(len, held.values())) > org.numbers_per_organization:
            return "dnc.phone.numbers.per.organization.limit.exceeded"
        return None

    async def _empty(self, request: web.Request) -> web.Response:
        """Without expiredOnly=true the whole list goes, as it does at the real provider."""
        request[CALL].action = "Delete"
        if request.query.get("expiredOnly") != "true":
            self._provider_state.lift_all(self.name, request.match_info["list"])
        return sourced(web.Response(status=204), SDK)


def _problem(status: int, code: str, message: str, *, source: str) -> web.Response:
    body = {"status": status, "code": code, "message": message, "contextId": secrets.token_hex(8)}
    return sourced(json_answer(status, body), source)
