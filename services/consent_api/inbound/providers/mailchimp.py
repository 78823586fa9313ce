"""Mailchimp's audience webhooks: a form, not signed; the secret is in the URL. It asks by GET whether the URL is there.

https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/
"""

from __future__ import annotations

from consent_api.inbound.providers import shared_secret
from consent_api.inbound.providers.base import (
    NEVER_PHONES,
    Account,
    InboundEvent,
    Kind,
    Payload,
    Provider,
    Webhook,
    form,
    unreadable,
)


def _read(webhook: Webhook, account: Account, _now: int) -> Payload:
    shared_secret.require(webhook, account)
    fields = dict(form(webhook))
    event = fields.get("type")
    if not event:
        raise unreadable("type", "point an audience webhook of Mailchimp here")
    # The time has no zone: the moment of receipt counts. It distinguishes one event from the next.
    return Payload(
        events=[
            InboundEvent(
                kind=_kind(event, fields.get("data[reason]", "")),
                address=fields.get("data[email]", ""),
                target=fields.get("data[list_id]") or None,
                text=f"{event} {fields.get('fired_at', '')} {fields.get('data[list_id]', '')}",
            )
        ]
    )


def _kind(event: str, reason: str) -> Kind:
    if reason == "abuse":
        return Kind.COMPLAINT
    if event == "cleaned":
        return Kind.HARD_BOUNCE
    return {"unsubscribe": Kind.OPT_OUT, "subscribe": Kind.OPT_IN}.get(event, Kind.OTHER)


# 410 would disable the webhook.
PROVIDER = Provider(read=_read, probed=True, requires=frozenset({"secrets"}), not_on=NEVER_PHONES)
