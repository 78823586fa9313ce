"""Any other tool, by Standard Webhooks 1.0: HMAC-SHA256 over id, timestamp and body, within 5 minutes.

The body is one event or `{"events": [...]}`, each with `type` (reply, opt_out, opt_in, complaint, hard_bounce,
soft_bounce, delivered), `address`, `occurred_at` (RFC 3339), `target` (the list that was left), of a reply the `text`.
The body is of our own making, so one of which nothing can be read is refused: its opt-outs would be lost.
https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from consent_api.inbound.providers.base import (
    CLOCK_SKEW_SECONDS,
    Account,
    InboundEvent,
    Kind,
    Payload,
    Provider,
    Webhook,
    any_equal,
    collect,
    document,
    forged,
    header,
    members,
    moment,
    outdated,
    text,
    unreadable,
)

_PREFIX = "whsec_"
_CURE = (
    "send events with an address and a type: reply, opt_out, opt_in, complaint, hard_bounce, soft_bounce or delivered"
)
_SHORTEST, _LONGEST = 24, 64


def _read(webhook: Webhook, account: Account, now: int) -> Payload:
    message_id = require_signature(webhook, account, now)
    body = members(document(webhook.body))
    events = body.get("events")
    numbered = enumerate(events if isinstance(events, list) else [body])
    payload = _collect(numbered, message_id)
    if payload.unreadable and not payload.events:
        raise unreadable("body", _CURE)
    return payload


def require_signature(webhook: Webhook, account: Account, now: int) -> str:
    """The id of the message. WebhookRefusedError unless it is signed, and of now."""
    message_id, timestamp = header(webhook, "webhook-id"), header(webhook, "webhook-timestamp")
    given = header(webhook, "webhook-signature").split()
    expected = [sign(each, message_id, timestamp, webhook.body) for each in account.secrets]
    if not any([any_equal(each, expected) for each in given[:10]]):  # noqa: C419 - all are compared
        raise forged("webhook-signature")
    if not timestamp.isdecimal() or abs(int(timestamp[:15]) - now) > CLOCK_SKEW_SECONDS:
        raise outdated("webhook-timestamp")
    return message_id


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(parse_secret(secret), signed, hashlib.sha256)).decode()


def parse_secret(secret: str) -> bytes:
    """The key that `whsec_` and base64 encode. ValueError names what is wrong, and never holds the secret."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("requires `whsec_` and base64") from None
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"requires {_SHORTEST} to {_LONGEST} bytes in base64")
    return key


def _collect(numbered: Iterable[tuple[int, Any]], message_id: str) -> Payload:
    return collect(
        ({**item, "number": number} if isinstance(item, dict) else item for number, item in numbered),
        lambda item: _event(item, message_id),
    )


def _event(item: dict[str, Any], message_id: str) -> InboundEvent | None:
    try:
        kind = Kind(text(item.get("type")))
    except ValueError:
        return None
    address = text(item.get("address"))
    if not address:
        return None
    return InboundEvent(
        kind=kind,
        address=address,
        id=f"{message_id} {item['number']}",
        occurred_at=moment(item.get("occurred_at")),
        text=text(item.get("text")),
        target=text(item.get("target")) or None,
    )


PROVIDER = Provider(read=_read, longest_body=1_048_576, requires=frozenset({"secrets"}))
