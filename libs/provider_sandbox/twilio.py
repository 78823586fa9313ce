"""Twilio's bulk upsert of consents: form items of JSON, and an error code for each item in a 201."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from aiohttp import web

from provider_sandbox.beliefs import PERMITTED, SUPPRESSED, Beliefs
from provider_sandbox.config import TwilioAccount
from provider_sandbox.faults import Faults
from provider_sandbox.limits import Admission
from provider_sandbox.provider import CALL, basic_credentials, json_answer, same

NOT_UPSERTED = 30646

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER = re.compile(r"MG[0-9a-fA-F]{32}|\+[1-9][0-9]{6,14}")
_CORRELATION = re.compile(r"[0-9a-fA-F]{32}")
_STATUSES = {"opt-in": PERMITTED, "opt-out": SUPPRESSED}
_SOURCES = {"website", "offline", "opt-in-message", "opt-out-message", "others"}


class Twilio:
    """One account's consents; a target is a sender id."""

    name = "twilio"

    def __init__(self, account: TwilioAccount, beliefs: Beliefs, faults: Faults) -> None:
        self.limit, self.latency = account.limit, account.latency
        self._account = account
        self._beliefs = beliefs
        self._faults = faults

    def account_of(self, path: str) -> str:
        return self.name

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/twilio/v1/Consents/Bulk", self._upsert)]

    def throttled(self, admission: Admission) -> web.Response:
        return _problem(429, 20429, "Too Many Requests")

    def mark(self, response: web.StreamResponse, admission: Admission) -> None:
        """Twilio tells nothing of what is left."""

    async def _upsert(self, request: web.Request) -> web.Response:
        credentials = basic_credentials(request)
        if credentials is None or not (
            same(credentials[0], self._account.account_sid) and same(credentials[1], self._account.auth_token)
        ):
            return _problem(401, 20003, "Authenticate")
        form = await request.post()
        items = [value for value in form.getall("Items", []) if isinstance(value, str)]
        if not items or len(items) > self._account.items_per_call:
            return _problem(400, 20001, f"Items: between 1 and {self._account.items_per_call} items are allowed")
        try:
            consents = [msgspec.json.decode(item, type=dict[str, Any]) for item in items]
        except msgspec.DecodeError:
            return _problem(400, 20001, "Items: not a JSON object")
        call = request[CALL]
        call.addresses = [str(consent.get("contact_id")) for consent in consents]
        call.action = ",".join(sorted({str(consent.get("status")) for consent in consents}))
        return json_answer(201, {"items": [self._take(consent) for consent in consents]})

    def _take(self, consent: dict[str, Any]) -> dict[str, Any]:
        errors = self._errors(consent)
        contact = str(consent.get("contact_id"))
        code = NOT_UPSERTED if errors else 0
        if not errors and (rejection := self._faults.rejection(self.name, contact)) is not None:
            number, _, message = rejection.partition(" ")
            code, errors = int(number or NOT_UPSERTED), [message or "INVALID_CONTACT_ID"]
        if not errors:
            self._beliefs.tell(self.name, contact, str(consent["sender_id"]), _STATUSES[str(consent["status"])])
        return {"correlation_id": consent.get("correlation_id"), "error_code": code, "error_messages": errors}

    def _errors(self, consent: dict[str, Any]) -> list[str]:
        """The validation messages of one item, in Twilio's words (error 30646)."""
        errors = []
        if not _CORRELATION.fullmatch(str(consent.get("correlation_id"))):
            errors.append("INVALID_CORRELATION_ID")
        sender = str(consent.get("sender_id"))
        if not _SENDER.fullmatch(sender) or (self._account.senders and sender not in self._account.senders):
            errors.append("INVALID_SENDER_ID")
        if not _E164.fullmatch(str(consent.get("contact_id"))):
            errors.append("INVALID_CONTACT_ID")
        if consent.get("status") not in _STATUSES:
            errors.append("INVALID_STATUS")
        if consent.get("source") not in _SOURCES:
            errors.append("INVALID_SOURCE")
        return errors


def _problem(status: int, code: int, message: str) -> web.Response:
    return json_answer(status, {"code": code, "message": message, "status": status})
