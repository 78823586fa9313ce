"""SendGrid's unsubscribe groups and global suppressions, with the trap that an unknown group writes globally.

The specification (sendgrid-oai) describes requests and 2xx answers alone; what else is known is from the documentation
of errors and from reports. Each answer carries its source, or `assumed`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from provider_sandbox.config import SendGridAccount
from provider_sandbox.faults import Faults
from provider_sandbox.limits import Admission
from provider_sandbox.provider import ASSUMED, CALL, bearer_token, json_answer, same, sourced
from provider_sandbox.provider_state import PERMITTED, SUPPRESSED, ProviderState

GLOBAL = "global"

SPECIFICATION = "sendgrid-oai 2024-07"
ERRORS = "sendgrid-python USAGE.md and sendgrid/docs, checked 2026-11-26"
REFERENCE = "twilio.com/docs/sendgrid/api-reference, read 2026-11-26"
SCOPES = "twilio.com/docs/sendgrid/api-reference/api-key-permissions, read 2026-11-27"
ABSENT = "sendgrid/docs#6194 and #6087"

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class _Recipients(msgspec.Struct):
    recipient_emails: list[str]


class SendGrid:
    """One account's suppressions; a target is a group id, or `global`."""

    name = "sendgrid"

    def __init__(self, account: SendGridAccount, provider_state: ProviderState, faults: Faults) -> None:
        self.limit, self.latency = account.limit, account.latency
        self._account = account
        self._provider_state = provider_state
        self._faults = faults

    def account_of(self, path: str) -> str:
        return self.name

    def routes(self) -> list[web.RouteDef]:
        root, allowed = "/sendgrid/v3/asm", self._allowed
        groups, of_group, globally = "asm.groups", "asm.groups.suppressions", "asm.suppressions.global"
        return [
            web.get("/sendgrid/v3/scopes", self._scopes),
            web.get(root + "/groups/{group}", allowed(f"{groups}.read", self._group)),
            web.get(root + "/groups/{group}/suppressions", allowed(f"{of_group}.read", self._list)),
            web.post(root + "/groups/{group}/suppressions", allowed(f"{of_group}.create", self._suppress)),
            web.post(root + "/groups/{group}/suppressions/search", allowed(f"{of_group}.read", self._search)),
            web.delete(root + "/groups/{group}/suppressions/{email}", allowed(f"{of_group}.delete", self._lift)),
            web.post(root + "/suppressions/global", allowed(f"{globally}.create", self._suppress)),
            web.get(root + "/suppressions/global/{email}", allowed(f"{globally}.read", self._read_global)),
            web.delete(root + "/suppressions/global/{email}", allowed(f"{globally}.delete", self._lift)),
        ]

    def throttled(self, admission: Admission) -> web.Response:
        return _errors(429, "too many requests", source=REFERENCE)

    def add_rate_limit_headers(self, response: web.StreamResponse, admission: Admission) -> None:
        if admission.limit:
            response.headers["X-RateLimit-Limit"] = str(admission.limit)
            response.headers["X-RateLimit-Remaining"] = str(admission.remaining)
            response.headers["X-RateLimit-Reset"] = str(int(time.time() + admission.reset_seconds) + 1)

    def _allowed(self, scope: str, handler: _Handler) -> _Handler:
        async def guarded(request: web.Request) -> web.Response:
            if not self._knows(request):
                return _unknown_key()
            if scope not in self._account.scopes:
                return _errors(403, "access forbidden", source=ERRORS)
            return await handler(request)

        return guarded

    def _knows(self, request: web.Request) -> bool:
        token = bearer_token(request)
        return token is not None and same(token, self._account.api_key)

    async def _scopes(self, request: web.Request) -> web.Response:
        if not self._knows(request):
            return _unknown_key()
        return _answer(200, {"scopes": [*self._account.scopes, "2fa_required"]}, source=SCOPES)

    def _target(self, request: web.Request) -> str:
        """The list a call really touches: SendGrid takes an unknown group for the global one, without a word."""
        group = request.match_info.get("group", GLOBAL)
        return group if group in self._account.groups else GLOBAL

    def _is_unknown_group(self, request: web.Request) -> bool:
        return "group" in request.match_info and self._target(request) == GLOBAL

    async def _suppress(self, request: web.Request) -> web.Response:
        recipients = await self._recipients(request)
        if isinstance(recipients, web.Response):
            return recipients
        call, target = request[CALL], self._target(request)
        call.addresses, call.action = list(recipients), SUPPRESSED
        # All or nothing: one address it does not take, and none of the call is written.
        rejected = any(self._faults.rejection(self.name, email) is not None for email in recipients)
        if rejected or any("@" not in email for email in recipients):
            return _errors(400, "invalid email address", field="recipient_emails", source=ERRORS)
        self._provider_state.record_all(self.name, recipients, target, SUPPRESSED)
        # That the suppressions of an unknown or deleted group become global is from the reference.
        source = REFERENCE if self._is_unknown_group(request) else SPECIFICATION
        return _answer(201, {"recipient_emails": recipients}, source=source)

    async def _lift(self, request: web.Request) -> web.Response:
        email, target = request.match_info["email"], self._target(request)
        call = request[CALL]
        call.addresses, call.action = [email], PERMITTED
        if self._faults.rejection(self.name, email) is not None:
            return _errors(400, "invalid email address", source=ASSUMED)
        listed = self._provider_state.is_suppressed(self.name, email, target)
        self._provider_state.record(self.name, email, target, PERMITTED)
        if self._is_unknown_group(request):
            return sourced(web.Response(status=204), ASSUMED)
        if listed:
            return sourced(web.Response(status=204), SPECIFICATION)
        if target == GLOBAL:
            return sourced(web.Response(status=204), ABSENT)
        return _errors(404, "not found", source=ASSUMED)

    async def _group(self, request: web.Request) -> web.Response:
        group = request.match_info["group"]
        if group not in self._account.groups:
            return _errors(404, "resource not found", source=ASSUMED)
        return _answer(
            200,
            {
                "id": int(group),
                "name": self._account.groups[group],
                "description": "sandboxed group",
                "is_default": False,
                "unsubscribes": len(self._provider_state.suppressed_at(self.name, group)),
            },
            source=SPECIFICATION,
        )

    async def _list(self, request: web.Request) -> web.Response:
        listed = self._provider_state.suppressed_at(self.name, self._target(request))
        return _answer(200, listed, source=SPECIFICATION)

    async def _search(self, request: web.Request) -> web.Response:
        recipients = await self._recipients(request)
        if isinstance(recipients, web.Response):
            return recipients
        target = self._target(request)
        found = [email for email in recipients if self._provider_state.is_suppressed(self.name, email, target)]
        return _answer(200, found, source=SPECIFICATION)

    async def _read_global(self, request: web.Request) -> web.Response:
        email = request.match_info["email"]
        listed = self._provider_state.is_suppressed(self.name, email, GLOBAL)
        return _answer(200, {"recipient_email": email} if listed else {}, source=SPECIFICATION)

    async def _recipients(self, request: web.Request) -> list[str] | web.Response:
        try:
            recipients = msgspec.json.decode(await request.read(), type=_Recipients).recipient_emails
        except msgspec.DecodeError:
            return _errors(400, "request body is invalid", source=ASSUMED)
        if not recipients:
            return _errors(400, "at least one email is required", field="recipient_emails", source=ASSUMED)
        if len(recipients) > self._account.emails_per_call:
            return _errors(413, "too many emails", source=ASSUMED)
        return recipients


def _answer(status: int, body: Any, *, source: str) -> web.Response:
    return sourced(json_answer(status, body), source)


def _unknown_key() -> web.Response:
    return _errors(401, "The provided authorization grant is invalid, expired, or revoked", source=ERRORS)


def _errors(status: int, message: str, *, field: str | None = None, source: str) -> web.Response:
    return _answer(status, {"errors": [{"field": field, "message": message, "help": None}]}, source=source)
