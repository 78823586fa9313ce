"""Twilio's bulk upsert of consents: form items of JSON, and an error code for each item in a 201. The account and its
Messaging Services can be looked up.

Each answer carries its source (X-Sandbox-Source): the specification, the page of error 30646, or `assumed`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from aiohttp import web

from provider_sandbox.config import TwilioAccount
from provider_sandbox.faults import Faults
from provider_sandbox.limits import Admission
from provider_sandbox.provider import ASSUMED, CALL, basic_credentials, json_answer, same, sourced
from provider_sandbox.provider_state import PERMITTED, SUPPRESSED, ProviderState

NOT_UPSERTED = 30646

SPECIFICATION = "twilio-oai twilio_accounts_v1.json 2026-04, and twilio.com/docs/api/errors/30646"
ERRORS = "Twilio error dictionary, read 2026-11-26"
ACCOUNTS = "twilio-oai twilio_api_v2010.json, FetchAccount, and twilio.com/docs/iam/api-keys; read 2026-11-27"
SERVICES = "twilio-oai twilio_messaging_v1.json, FetchService and ListService; read 2026-11-27"

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER = re.compile(r"MG[0-9a-fA-F]{32}|\+[1-9][0-9]{6,14}|[0-9]{5,6}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_CORRELATION = re.compile(r"[0-9a-fA-F]{32}")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FIRST_DATE = datetime(1970, 1, 2, tzinfo=UTC)
"""Assumed: an earlier one is no date of a consent."""
_STATUSES = {"opt-in": PERMITTED, "opt-out": SUPPRESSED}
_SOURCES = {"website", "offline", "opt-in-message", "opt-out-message", "others"}


class Twilio:
    """One account's consents; a target is a sender id."""

    name = "twilio"

    def __init__(self, account: TwilioAccount, provider_state: ProviderState, faults: Faults) -> None:
        self.limit, self.latency = account.limit, account.latency
        self._account = account
        self._provider_state = provider_state
        self._faults = faults

    def account_of(self, path: str) -> str:
        return self.name

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/twilio/v1/Consents/Bulk", self._upsert),
            web.get("/twilio/2010-04-01/Accounts/{sid}.json", self._account_resource),
            web.get("/twilio/v1/Services", self._services),
            web.get("/twilio/v1/Services/{sid}", self._service),
        ]

    def throttled(self, admission: Admission) -> web.Response:
        return _problem(429, 20429, "Too Many Requests", source=ERRORS)

    def add_rate_limit_headers(self, response: web.StreamResponse, admission: Admission) -> None:
        """Twilio reports nothing of what is left."""

    def _caller(self, request: web.Request) -> Literal["account", "api key"] | None:
        """Whose credentials the request has."""
        user, password = basic_credentials(request) or ("", "")
        if self._account.status != "active":
            return None
        if same(user, self._account.account_sid) and same(password, self._account.auth_token):
            return "account"
        if same(user, self._account.api_key_sid) and same(password, self._account.api_key_secret):
            return "api key"
        return None

    async def _account_resource(self, request: web.Request) -> web.Response:
        if self._caller(request) != "account":
            return _problem(401, 20003, "Authenticate", source=ERRORS)
        if request.match_info["sid"] != self._account.account_sid:
            return _problem(404, 20404, "The requested resource was not found", source=ERRORS)
        found = {"sid": self._account.account_sid, "friendly_name": "sandbox", "status": "active", "type": "Full"}
        return sourced(json_answer(200, found), ACCOUNTS)

    async def _services(self, request: web.Request) -> web.Response:
        if (refusal := self._may_not_read_services(request)) is not None:
            return refusal
        services = [self._service_resource(each) for each in self._account.senders if _SERVICE.fullmatch(each)]
        return sourced(json_answer(200, {"services": services, "meta": {"key": "services", "page": 0}}), SERVICES)

    async def _service(self, request: web.Request) -> web.Response:
        if (refusal := self._may_not_read_services(request)) is not None:
            return refusal
        sid = request.match_info["sid"]
        if not _SERVICE.fullmatch(sid) or (self._account.senders and sid not in self._account.senders):
            return _problem(404, 20404, "The requested resource was not found", source=ERRORS)
        return sourced(json_answer(200, self._service_resource(sid)), SERVICES)

    def _service_resource(self, sid: str) -> dict[str, Any]:
        return {"sid": sid, "account_sid": self._account.account_sid, "friendly_name": "sandbox"}

    def _may_not_read_services(self, request: web.Request) -> web.Response | None:
        caller = self._caller(request)
        if caller is None:
            return _problem(401, 20003, "Authenticate", source=ERRORS)
        if caller == "api key" and not self._account.api_key_reads_services:
            return _problem(403, 70051, "Authorization Failed", source=ERRORS)
        return None

    async def _upsert(self, request: web.Request) -> web.Response:
        if self._caller(request) is None:
            return _problem(401, 20003, "Authenticate", source=ERRORS)
        if not self._account.consent_api:
            return _problem(404, 20404, "The requested resource was not found", source=ASSUMED)
        form = await request.post()
        items = [value for value in form.getall("Items", []) if isinstance(value, str)]
        if not items or len(items) > self._account.items_per_call:
            allowed = f"Items: between 1 and {self._account.items_per_call} items are allowed"
            return _problem(400, 20001, allowed, source=ASSUMED)  # The limit is documented, this answer is not.
        try:
            consents = [msgspec.json.decode(item, type=dict[str, Any]) for item in items]
        except msgspec.DecodeError:
            return _problem(400, 20001, "Items: not a JSON object", source=ASSUMED)
        call = request[CALL]
        call.addresses = [str(consent.get("contact_id")) for consent in consents]
        call.action = ",".join(sorted({str(consent.get("status")) for consent in consents}))
        ids = Counter(str(consent.get("correlation_id")) for consent in consents)
        answered = json_answer(201, {"items": [self._take(consent, ids) for consent in consents]})
        return sourced(answered, SPECIFICATION)

    def _take(self, consent: dict[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
        errors = self._errors(consent, ids)
        contact = str(consent.get("contact_id"))
        code = NOT_UPSERTED if errors else 0
        if not errors and (rejection := self._faults.rejection(self.name, contact)) is not None:
            number, _, message = rejection.partition(" ")
            code, errors = int(number or NOT_UPSERTED), [message or "INVALID_CONTACT_ID"]
        if not errors:
            self._provider_state.record(
                self.name, contact, str(consent["sender_id"]), _STATUSES[str(consent["status"])]
            )
        return {"correlation_id": consent.get("correlation_id"), "error_code": code, "error_messages": errors}

    def _errors(self, consent: dict[str, Any], ids: Mapping[str, int]) -> list[str]:
        """The validation messages of one item, those of error 30646 alone. `ids`: how often each is in the call."""
        errors = []
        correlation_id = str(consent.get("correlation_id"))
        if not _CORRELATION.fullmatch(correlation_id) or ids[correlation_id] > 1:
            errors.append("INVALID_CORRELATION_ID")
        sender = str(consent.get("sender_id"))
        if not _SENDER.fullmatch(sender) or (self._account.senders and sender not in self._account.senders):
            errors.append("INVALID_SENDER_ID")
        if not _E164.fullmatch(str(consent.get("contact_id"))):
            errors.append("INVALID_CONTACT_ID")
        if str(consent.get("status")) not in _STATUSES:
            errors.append("INVALID_STATUS")
        if str(consent.get("source")) not in _SOURCES:
            errors.append("INVALID_SOURCE")
        if "date_of_consent" in consent and not _is_past(consent["date_of_consent"]):
            errors.append("INVALID_DATE_OF_CONSENT")
        return errors


def _is_past(given: Any) -> bool:
    """Whether it is a date (RFC 3339) that has come: one in the future is refused too."""
    if not isinstance(given, str) or not _DATE.fullmatch(given):
        return False
    try:
        return _FIRST_DATE <= datetime.fromisoformat(given.upper()) <= datetime.now(UTC)
    except ValueError:
        return False


def _problem(status: int, code: int, message: str, *, source: str) -> web.Response:
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return sourced(json_answer(status, body), source)
