"""Twilio's consents: opt-ins and opt-outs of phone numbers at a sender, 25 a call, an error code for each.

Docs: POST https://accounts.twilio.com/v1/Consents/Bulk. There is nothing to read back.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

import msgspec

from propagator.connectors.base import (
    PERMIT,
    SUPPRESS,
    Accepted,
    CallBudget,
    Capabilities,
    ConnectionSettings,
    ConnectorType,
    Guard,
    Option,
    Outcome,
    Push,
    Refused,
    Retryable,
)
from propagator.connectors.bisect import BatchRefused, bisect_batch
from propagator.connectors.http import HttpClient, HttpResponse, basic
from propagator.connectors.responses import parsed, raise_for_status
from propagator.errors import UnknownTargetsError

HOST = "https://accounts.twilio.com"
CONNECTIONS = 4

_ALREADY_OPTED_OUT = 21610
_BAD_NUMBER = {21211, 21217, 21614}
_SENDER = re.compile(r"MG[0-9a-fA-F]{32}|\+[1-9][0-9]{6,14}")
_STATUS = {SUPPRESS: "opt-out", PERMIT: "opt-in"}


class _Item(msgspec.Struct):
    correlation_id: str
    error_code: Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)]
    error_messages: list[str] = []


class _Answer(msgspec.Struct):
    items: list[_Item]


class Twilio:
    """One Twilio account; a target is a Messaging Service SID or a sending number."""

    def __init__(self, connection: ConnectionSettings) -> None:
        self._url = f"{(connection.url or HOST).rstrip('/')}/v1/Consents/Bulk"
        self._headers = {
            "Authorization": basic(connection.credentials["account_sid"], connection.credentials["auth_token"]),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._source = str(connection.options["source"])
        self._http = HttpClient(timeout_seconds=connection.timeout_seconds, connections=CONNECTIONS)

    async def verify(self, *, budget: CallBudget) -> None:
        """Twilio has no call that reads consents or tries one without writing it: nothing to check."""

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        async def attempt(part: Sequence[Push]) -> Sequence[Outcome] | BatchRefused:
            response = await self._http.call(
                "POST",
                self._url,
                budget=budget,
                headers=self._headers,
                body=urlencode([("Items", self._item(push)) for push in part]).encode(),
                guard=guard,
            )
            if response.status in (400, 413):
                return Retryable(reason=f"http_{response.status}")
            raise_for_status(response)
            return _outcomes(part, response)

        return await bisect_batch(pushes, attempt)

    async def close(self) -> None:
        await self._http.close()

    def _item(self, push: Push) -> str:
        chosen = datetime.datetime.fromtimestamp(push.occurred_at / 1e6, datetime.UTC)
        return json.dumps(
            {
                "contact_id": push.address,
                "correlation_id": push.push_id,
                "sender_id": push.target,
                "status": _STATUS[push.action],
                "source": self._source,
                "date_of_consent": chosen.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            separators=(",", ":"),
        )


def _outcomes(pushes: Sequence[Push], response: HttpResponse) -> list[Outcome]:
    items = {item.correlation_id: item for item in parsed(response, _Answer).items}
    answered = [items.get(push.push_id) for push in pushes]
    if all(item is not None and "INVALID_SENDER_ID" in item.error_messages for item in answered):
        senders = sorted({push.target for push in pushes})
        raise UnknownTargetsError(
            "sender", {each: f"sender {each} is not known to Twilio: correct `purposes`" for each in senders}
        )
    return [_outcome(push, item) for push, item in zip(pushes, answered, strict=True)]


def _outcome(push: Push, item: _Item | None) -> Outcome:
    """Only codes known to be final end a push: a revocation is not given up for an unknown one."""
    if item is None:
        return Retryable(reason="unanswered")
    if item.error_code == 0:
        return Accepted(reference=item.correlation_id)
    if item.error_code == _ALREADY_OPTED_OUT:
        if push.action == SUPPRESS:
            return Accepted(reference=item.correlation_id)
        return Refused(code="21610", detail="the person sent STOP to this sender; only START from the phone lifts it")
    if item.error_code in _BAD_NUMBER or "INVALID_CONTACT_ID" in item.error_messages:
        return Refused(code=str(item.error_code), detail="Twilio does not take this number")
    if "INVALID_SENDER_ID" in item.error_messages:
        return Retryable(reason="sender", unknown_target=True)
    return Retryable(reason=f"item_{item.error_code}")


def _target_error(target: str) -> str | None:
    if _SENDER.fullmatch(target):
        return None
    return "not a sender: write a Messaging Service SID (MG and 32 hex digits) or a sending number (+33...)"


TYPE = ConnectorType(
    name="twilio",
    channels=frozenset({"sms"}),
    credentials={
        "account_sid": "the account's SID (AC...) or an API key's (SK...)",
        "auth_token": "the account's auth token or the API key's secret",
    },
    options={
        "source": Option(
            type=str,
            default="others",
            choices=("website", "offline", "opt-in-message", "opt-out-message", "others"),
            help="where people chose, as Twilio shows it",
        )
    },
    capabilities=Capabilities(
        max_batch={SUPPRESS: 25, PERMIT: 25},
        mixed=True,
        calls_per_second=1.5,  # with the burst, 100 in any minute: what Twilio allows
        burst=10,
        concurrency=CONNECTIONS,
        answer="queued",
        readback="none",
        scope="target",
    ),
    target_error=_target_error,
    open=Twilio,
)
