"""Brevo: not signed; a bearer token, basic authentication or a header that its user sets. Only a 429, or no answer,
makes it send again: it discards after any 5xx and any other 4xx.

https://developers.brevo.com/docs/marketing-webhooks
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consent_api.inbound.providers import delivery_status, shared_secret
from consent_api.inbound.providers.base import (
    NEVER_PHONES,
    Account,
    InboundEvent,
    Kind,
    Payload,
    Provider,
    Webhook,
    collect,
    document,
    micros,
    objects,
    text,
)

_KINDS = {
    "unsubscribed": Kind.OPT_OUT,
    "unsubscribe": Kind.OPT_OUT,
    "spam": Kind.COMPLAINT,
    "complaint": Kind.COMPLAINT,
    "hard_bounce": Kind.HARD_BOUNCE,
    "hardbounce": Kind.HARD_BOUNCE,
    "invalid_email": Kind.HARD_BOUNCE,
    "soft_bounce": Kind.SOFT_BOUNCE,
    "softbounce": Kind.SOFT_BOUNCE,
    "blocked": Kind.SOFT_BOUNCE,
    "deferred": Kind.SOFT_BOUNCE,
    "delivered": Kind.DELIVERED,
    "list_addition": Kind.OPT_IN,
}


def _read(webhook: Webhook, account: Account, _now: int) -> Payload:
    shared_secret.require(webhook, account)
    return collect(objects(document(webhook.body)), _events)


def _events(item: dict[str, Any]) -> Sequence[InboundEvent] | None:
    event = text(item.get("event"))
    if not event:
        return None
    # `date` is in CET and `date_event` in the account's zone: they are not read.
    epoch = micros(item.get("ts_epoch"))
    when = epoch // 1_000 if epoch is not None else micros(item.get("ts_event"))
    kind = _KINDS.get(event.lower(), Kind.OTHER)
    if kind is Kind.HARD_BOUNCE:
        kind = delivery_status.bounce(item.get("reason"), kind)
    mark = f"{event} {text(item.get('ts_epoch')) or text(item.get('ts_event')) or text(item.get('date_event'))}"
    found = [
        InboundEvent(kind=kind, address=text(address), occurred_at=when, text=mark)
        for address in objects(item.get("email"))
    ]
    return found or None


PROVIDER = Provider(read=_read, longest_body=1_048_576, again=429, requires=frozenset({"secrets"}), not_on=NEVER_PHONES)
