"""Any tool that takes Standard Webhooks: one signed message states what one address may be contacted for.

A message states a state, not a change: a receiver that applies the newest `version` it saw of an address and
purpose is right, whatever arrives twice or late. docs/providers.md describes the message for receivers.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from propagator.connector import (
    PERMIT,
    SUPPRESS,
    Accepted,
    Account,
    Capabilities,
    Guard,
    Kind,
    Option,
    Outcome,
    Push,
    TryAgain,
)
from propagator.connectors.answers import raise_common
from propagator.connectors.exchange import Exchange
from propagator.connectors.public_targets import PublicResolver, url_error
from propagator.connectors.standard_webhooks import secret_of, signed_headers
from propagator.errors import Misconfigured

MESSAGE_TYPE = "suppression.updated"
CONNECTIONS = 16


class Webhook:
    """One endpoint. A target is what its owner calls our purpose; with `purposes: same`, the purpose itself."""

    def __init__(self, account: Account) -> None:
        allow_private = bool(account.options["allow_private"])
        if account.url is None:
            raise Misconfigured("url", "a webhook has no host of its own: set `url`")
        if (wrong := url_error(account.url, allow_private=allow_private)) is not None:
            raise Misconfigured("url", wrong)
        self._url = account.url
        self._secrets = _secrets(account.credentials)
        self._clear = bool(account.options["clear_addresses"])
        self._exchange = Exchange(
            timeout_seconds=account.timeout_seconds,
            connections=CONNECTIONS,
            resolver=None if allow_private else PublicResolver(),
        )

    async def verify(self) -> None:
        """The format knows no question without a message: nothing to check beyond the URL and the secrets."""

    async def push(self, pushes: Sequence[Push], *, guard: Guard) -> Sequence[Outcome]:
        if len(pushes) == 1:
            return [await self._tell(pushes[0], guard)]
        return list(await asyncio.gather(*(self._tell(push, guard) for push in pushes)))

    async def close(self) -> None:
        await self._exchange.close()

    async def _tell(self, push: Push, guard: Guard) -> Outcome:
        body = self._message(push)
        answer = await self._exchange.call(
            "POST",
            self._url,
            headers={
                "Content-Type": "application/json",
                # The id stays over retries; the time is that of the attempt, or a receiver would call it stale.
                **signed_headers(self._secrets, message_id=push.push_id, timestamp=int(time.time()), body=body),
            },
            body=body,
            guard=guard,
        )
        if 200 <= answer.status < 300:
            return Accepted(reference=push.push_id)
        if answer.status == 410:
            raise Misconfigured("gone", "410: the receiver wants no more messages: remove or correct the destination")
        raise_common(answer)
        if answer.status == 404:
            raise Misconfigured("not_found", "404: nobody receives messages there: check `url`")
        # The format says that whatever is not 2xx is to be tried again; a bad message parks, it is not dropped.
        return TryAgain(reason=f"http_{answer.status}")

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
        return [secret_of(text) for _, text in named]
    except ValueError as error:
        raise Misconfigured("secret", str(error)) from None


def _rfc3339(micros: int) -> str:
    moment = datetime.datetime.fromtimestamp(micros // 1_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{micros % 1_000_000:06d}Z"


def _url_error(url: str, options: Mapping[str, bool | int | str]) -> str | None:
    return url_error(url, allow_private=bool(options["allow_private"]))


KIND = Kind(
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
    },
    url_required=True,
    same_targets=True,
    capabilities=Capabilities(
        max_batch={SUPPRESS: 1, PERMIT: 1},
        mixed=False,
        calls_per_second=200,
        burst=50,
        concurrency=CONNECTIONS,
        answer="queued",
        reads_back="none",
        scope="target",
    ),
    target_error=lambda target: None if target else "empty: write the name the receiver knows",
    url_error=_url_error,
    build=Webhook,
)
