"""Mailgun: HMAC-SHA256 over a timestamp and a token. It does not cover the body, so a token is good for one body.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from consent_api.inbound.providers import delivery_status
from consent_api.inbound.providers.base import (
    CLOCK_SKEW_SECONDS,
    NEVER_PHONES,
    Account,
    InboundEvent,
    Kind,
    Payload,
    Provider,
    Webhook,
    any_equal,
    document,
    forged,
    members,
    micros,
    missing,
    outdated,
    text,
    unreadable,
)

WINDOW_SECONDS = 12 * 3600
"""Mailgun sends again for 8 hours. Shorter than a token is remembered (`ledger.idempotency.KEPT_MICROS`)."""
_KINDS = {
    "unsubscribed": Kind.OPT_OUT,
    "list_member_unsubscribed": Kind.OPT_OUT,
    "complained": Kind.COMPLAINT,
    "delivered": Kind.DELIVERED,
}
_SUPPRESSED = {"suppress-unsubscribe": Kind.OPT_OUT, "suppress-complaint": Kind.COMPLAINT}


def _read(webhook: Webhook, account: Account, now: int) -> Payload:
    payload = members(document(webhook.body))
    signature = members(payload.get("signature"))
    timestamp, token = text(signature.get("timestamp")), text(signature.get("token"))
    given = text(signature.get("signature"))
    if not (timestamp and token and given):
        raise missing("signature")
    expected = [
        hmac.digest(secret.encode(), (timestamp + token).encode("utf-8", "replace"), hashlib.sha256).hex()
        for secret in account.secrets
    ]
    if not any_equal(given, expected):
        raise forged("signature")
    signed_at = micros(timestamp)
    if signed_at is None or not -WINDOW_SECONDS <= signed_at // 1_000_000 - now <= CLOCK_SKEW_SECONDS:
        raise outdated("signature.timestamp")
    event = members(payload.get("event-data"))
    if not text(event.get("event")):
        raise unreadable("event-data", "point a webhook of Mailgun here")
    return Payload(events=[_event(event, token)], once=token)


def _event(event: Mapping[str, Any], token: str) -> InboundEvent:
    name = text(event.get("event"))
    kind = _KINDS.get(name, Kind.OTHER)
    if name == "failed":
        permanent = event.get("severity") == "permanent"
        found = _SUPPRESSED.get(text(event.get("reason"))) if permanent else None
        status = members(event.get("delivery-status")).get("enhanced-code")
        kind = found or delivery_status.bounce(status, Kind.HARD_BOUNCE if permanent else Kind.SOFT_BOUNCE)
    return InboundEvent(
        kind=kind, address=text(event.get("recipient")), id=token, occurred_at=micros(event.get("timestamp"))
    )


# 406 would end its attempts.
PROVIDER = Provider(read=_read, requires=frozenset({"secrets"}), not_on=NEVER_PHONES)
