"""Mailjet's Event API: not signed; basic authentication in the URL. Anything but a 200 makes it send again.

https://dev.mailjet.com/email/guides/webhooks/
"""

from __future__ import annotations

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
    "unsub": Kind.OPT_OUT,
    "spam": Kind.COMPLAINT,
    "blocked": Kind.SOFT_BOUNCE,
    "sent": Kind.DELIVERED,
}


def _read(webhook: Webhook, account: Account, _now: int) -> Payload:
    shared_secret.require(webhook, account)
    return collect(objects(document(webhook.body)), _event)


def _event(item: dict[str, Any]) -> InboundEvent | None:
    event = text(item.get("event"))
    if not event:
        return None
    kind = _KINDS.get(event, Kind.OTHER)
    if event == "bounce":
        word = Kind.HARD_BOUNCE if item.get("hard_bounce") in (True, 1, "1", "true") else Kind.SOFT_BOUNCE
        kind = delivery_status.bounce(item.get("comment"), word)
    return InboundEvent(
        kind=kind,
        address=text(item.get("email")),
        occurred_at=micros(item.get("time")),
        target=text(item.get("mj_list_id")) or None,
        text=f"{event} {text(item.get('MessageID'))} {text(item.get('time'))}",
    )


PROVIDER = Provider(read=_read, longest_body=1_048_576, requires=frozenset({"secrets"}), not_on=NEVER_PHONES)
