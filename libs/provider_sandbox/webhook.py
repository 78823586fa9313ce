"""A receiver of Standard Webhooks 1.0: verifies, deduplicates by message id, holds what each message states.

The standard leaves the statuses of refusals to the receiver, but for 410: those here are assumed, and marked so.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import msgspec
from aiohttp import web

from provider_sandbox.config import WebhookReceivers
from provider_sandbox.faults import Faults
from provider_sandbox.limits import Admission
from provider_sandbox.provider import ASSUMED, CALL, json_answer, sourced
from provider_sandbox.provider_state import PERMITTED, SUPPRESSED, ProviderState

STANDARD = "standard-webhooks specification 2026-08"

_PREFIX = "whsec_"


class _Purpose(msgspec.Struct):
    permitted: bool


class _Data(msgspec.Struct):
    channel: str
    address_key: str
    purposes: dict[str, _Purpose]
    address: str | None = None


class _Message(msgspec.Struct):
    type: str
    data: _Data


class Webhook:
    """Receivers under /webhook and /webhook/<name>; a target is a purpose, an address the clear one or its key."""

    name = "webhook"

    def __init__(self, receivers: WebhookReceivers, provider_state: ProviderState, faults: Faults) -> None:
        self.limit, self.latency = receivers.limit, receivers.latency
        self._receivers = receivers
        self._provider_state = provider_state
        self._faults = faults
        self._secrets = [base64.b64decode(secret.removeprefix(_PREFIX)) for secret in receivers.secrets]
        self._seen: dict[tuple[str, str], None] = {}

    def account_of(self, path: str) -> str:
        """`webhook` for the plain path, `webhook/<name>` for a named receiver."""
        return "/".join(part for part in path.split("/")[1:3] if part)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/webhook", self._receive),
            web.post("/webhook/{receiver}", self._receive),
            web.get("/webhook", self._check),
            web.get("/webhook/{receiver}", self._check),
        ]

    def throttled(self, admission: Admission) -> web.Response:
        headers = {"Retry-After": str(int(admission.reset_seconds) + 1)}
        return sourced(json_answer(429, {"error": "too many messages"}, headers), STANDARD)

    def add_rate_limit_headers(self, response: web.StreamResponse, admission: Admission) -> None:
        """Standard Webhooks knows no header for what is left."""

    async def _check(self, request: web.Request) -> web.Response:
        """What the sender asks at a `check_url`: its own format, which no standard describes."""
        message_id = request.headers.get("webhook-id", "")
        request[CALL].message_id = message_id
        refusal = self._refusal(message_id, request, await request.read())
        if refusal is not None:
            return sourced(json_answer(401, {"error": refusal}), ASSUMED)
        return sourced(web.Response(status=204), ASSUMED)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        call = request[CALL]
        message_id = request.headers.get("webhook-id", "")
        call.message_id = message_id
        refusal = self._refusal(message_id, request, body)
        if refusal is not None:
            return sourced(json_answer(401, {"error": refusal}), ASSUMED)
        try:
            message = msgspec.json.decode(body, type=_Message)
        except msgspec.DecodeError:
            return sourced(json_answer(400, {"error": "not a suppression message"}), ASSUMED)
        data, account = message.data, call.account
        address = data.address or data.address_key
        call.addresses, call.action = [address], message.type
        if self._faults.rejection(account, address) is not None:
            return sourced(json_answer(400, {"error": "address refused"}), ASSUMED)
        if self._first_time(account, message_id):
            for purpose, verdict in data.purposes.items():
                self._provider_state.record(account, address, purpose, PERMITTED if verdict.permitted else SUPPRESSED)
        return sourced(web.Response(status=204), STANDARD)

    def _refusal(self, message_id: str, request: web.Request, body: bytes) -> str | None:
        """Why the message is not to be believed, None when its time and one of its signatures hold."""
        stamp = request.headers.get("webhook-timestamp", "")
        if not message_id or not stamp.isdigit():
            return "webhook-id or webhook-timestamp is missing"
        if abs(time.time() - int(stamp)) > self._receivers.tolerance_seconds:
            return "webhook-timestamp is out of tolerance"
        signed = f"{message_id}.{stamp}.".encode() + body
        offered = [s[3:] for s in request.headers.get("webhook-signature", "").split() if s.startswith("v1,")]
        for secret in self._secrets:
            wanted = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
            if any(hmac.compare_digest(wanted.encode(), signature.encode()) for signature in offered):
                return None
        return "no signature holds"

    def _first_time(self, account: str, message_id: str) -> bool:
        if (account, message_id) in self._seen:
            return False
        self._seen[account, message_id] = None
        if len(self._seen) > self._receivers.remembered_ids:
            del self._seen[next(iter(self._seen))]
        return True

    def forget(self, account: str | None) -> None:
        """Forget the ids one receiver, or all, have seen."""
        self._seen = {key: None for key in self._seen if account is not None and key[0] != account}


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header a sender must show; here so that the sandbox's own tests need no sender."""
    key: Any = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
