"""Any tool that takes Standard Webhooks: one signed message states what one address may be contacted for.

A message holds a state, not a change: a receiver that keeps the highest `version` of each address_key and target is
right, whatever arrives twice or late. docs/providers.md describes the message for receivers.
"""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from consent_http.ssrf import PublicOnlyResolver, url_error
from consent_http.webhook_signature import parse_secret, signed_headers
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
    Retryable,
    Verified,
)
from propagator.connectors.http import MAX_DOUBT_SECONDS, HttpClient
from propagator.connectors.responses import raise_for_status
from propagator.errors import CallFailedError, MisconfiguredError

MESSAGE_TYPE = "suppression.updated"
CONNECTIONS = 16


class Webhook:
    """One endpoint. A target is what its owner calls our purpose; with `purposes: same`, the purpose itself."""

    def __init__(self, connection: ConnectionSettings) -> None:
        allow_private = bool(connection.options["allow_private"])
        if connection.url is None:
            raise MisconfiguredError("url", "a webhook has no host of its own: set `url`")
        self._url = connection.url
        self._check_url = str(connection.options["check_url"])
        self._secrets = _secrets(connection.credentials)
        self._clear = bool(connection.options["clear_addresses"])
        self._http = HttpClient(
            timeout_seconds=connection.timeout_seconds,
            connections=CONNECTIONS,
            resolver=None if allow_private else PublicOnlyResolver(),
        )

    async def verify(self, *, budget: CallBudget) -> Verified | None:
        """The receiver accepts our signature, where the destination has a `check_url`: Standard Webhooks has no request
        without a message, so without one there is nothing to ask.

        Only 401 is raised, by which the receiver says that it does not. Anything else is reported: it is said of
        another URL than that of the messages.
        """
        if not self._check_url:
            return None
        headers = self._signed(f"check_{secrets.token_hex(16)}", b"")
        try:
            response = await self._http.call(
                "GET", self._check_url, budget=budget, headers=headers, most_seconds=MAX_DOUBT_SECONDS
            )
        except CallFailedError as error:
            return Verified(doubt=f"`options.check_url`: {error}")
        if response.status == 401:
            raise MisconfiguredError("credentials", "401: the receiver does not take our signature: check `secret`")
        if not 200 <= response.status < 300:
            return Verified(doubt=f"`options.check_url`: {response.status} where 2xx or 401 was due")
        return None

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        (push,) = pushes
        return [await self._send(push, guard, budget)]

    async def close(self) -> None:
        await self._http.close()

    async def _send(self, push: Push, guard: Guard, budget: CallBudget) -> Outcome:
        body = self._message(push)
        response = await self._http.call(
            "POST",
            self._url,
            budget=budget,
            headers={"Content-Type": "application/json", **self._signed(push.push_id, body)},
            body=body,
            guard=guard,
        )
        if 200 <= response.status < 300:
            return Accepted(reference=push.push_id)
        if response.status == 410:
            raise MisconfiguredError("gone", "410: the receiver takes no more messages: correct the destination")
        raise_for_status(response)
        if response.status == 404:
            raise MisconfiguredError("not_found", "404: no receiver at this URL: check `url`")
        # By the standard, whatever is not 2xx is sent again; a message that alone fails backs off and is not dropped.
        return Retryable(reason=f"http_{response.status}")

    def _signed(self, message_id: str, body: bytes) -> dict[str, str]:
        # The id stays over retries; the time is that of the attempt, or a receiver would reject it as too old.
        return signed_headers(self._secrets, message_id=message_id, timestamp=int(time.time()), body=body)

    def _message(self, push: Push) -> bytes:
        """The body; equal for equal states, so that a retry is the same message under the same id."""
        verdict = {
            "permitted": push.action == PERMIT,
            "reason": push.reason,
            "since": _rfc3339(push.occurred_at),
            "expires_at": None if push.expires_at is None else _rfc3339(push.expires_at),
        }
        data: dict[str, Any] = {
            "tenant": push.tenant,
            "channel": push.channel,
            "address_key": push.address_key,
            "target": push.target,
            "purposes": dict.fromkeys(push.purposes, verdict),
            "decision_ids": push.decision_ids,
            "version": push.version,
        }
        if self._clear:
            data["address"] = push.address
        return msgspec.json.encode({"type": MESSAGE_TYPE, "timestamp": _rfc3339(push.recorded_at), "data": data})


def _secrets(credentials: Mapping[str, str]) -> list[bytes]:
    """The new secret first; the previous one signs too for as long as the destination names it."""
    named = [(name, credentials[name]) for name in ("secret", "previous_secret") if credentials.get(name)]
    try:
        return [parse_secret(text) for _, text in named]
    except ValueError as error:
        raise MisconfiguredError("secret", str(error)) from None


def _rfc3339(micros: int) -> str:
    moment = datetime.datetime.fromtimestamp(micros // 1_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{micros % 1_000_000:06d}Z"


def _url_error(url: str, options: Mapping[str, bool | int | str]) -> str | None:
    allow_private, check_url = bool(options["allow_private"]), str(options["check_url"])
    if (wrong := url_error(url, allow_private=allow_private)) is not None:
        return wrong
    wrong = url_error(check_url, allow_private=allow_private) if check_url else None
    return None if wrong is None else f"`check_url`: {wrong}"


TYPE = ConnectorType(
    name="webhook",
    channels=None,
    credentials={"secret": "the signing secret: whsec_ and 24 to 64 bytes in base64"},
    optional_credentials={"previous_secret": "the secret before, while the receiver may still hold it"},
    options={
        "clear_addresses": Option(
            type=bool, default=False, help="send the number or e-mail itself, not only its address_key"
        ),
        "allow_private": Option(
            type=bool, default=False, help="allow http and hosts of a private network (a tool beside us, a test)"
        ),
        "check_url": Option(
            type=str,
            default="",
            help="a URL of the receiver that answers a signed GET by 2xx where it takes our signature; asked before"
            " anything is sent, and by `doctor`",
        ),
    },
    address_option="clear_addresses",
    url_required=True,
    same_targets=True,
    capabilities=Capabilities(
        max_batch={SUPPRESS: 1, PERMIT: 1},
        mixed=False,
        calls_per_second=200,
        burst=50,
        concurrency=CONNECTIONS,
        answer="queued",
        readback="none",
        scope="target",
    ),
    target_error=lambda target: None if target else "empty: write the name the receiver knows",
    url_error=_url_error,
    in_force=lambda _target: "received by the tool; what it then stops is the tool's own",
    open=Webhook,
)
