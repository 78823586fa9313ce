"""SendGrid's Event Webhook, signed by ECDSA over the timestamp and the raw body. The secret is its public key.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from consent_api.inbound.providers import delivery_status
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
    forged,
    header,
    micros,
    objects,
    text,
)

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
_KINDS = {
    "unsubscribe": Kind.OPT_OUT,
    "group_unsubscribe": Kind.OPT_OUT,
    "group_resubscribe": Kind.OPT_IN,
    "spamreport": Kind.COMPLAINT,
    "deferred": Kind.SOFT_BOUNCE,
    "delivered": Kind.DELIVERED,
}
_DROPPED = {
    "bounced address": Kind.HARD_BOUNCE,
    "invalid": Kind.HARD_BOUNCE,
    "unsubscribed address": Kind.OPT_OUT,
    "spam reporting address": Kind.COMPLAINT,
}


def _read(webhook: Webhook, account: Account, _now: int) -> Payload:
    signature, timestamp = header(webhook, _SIGNATURE), header(webhook, _TIMESTAMP)
    signed = timestamp.encode() + webhook.body
    try:
        given = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise forged(_SIGNATURE) from None
    if not any(_signed_by(key, given, signed) for key in account.secrets):
        raise forged(_SIGNATURE)
    return collect(objects(document(webhook.body)), _event)


def _signed_by(key: str, signature: bytes, signed: bytes) -> bool:
    public = load_der_public_key(base64.b64decode(key))
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return False
    try:
        public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def check_key(key: str) -> None:
    """ValueError unless it is the verification key as SendGrid shows it."""
    try:
        public = load_der_public_key(base64.b64decode(key, validate=True))
    except Exception:
        raise ValueError("requires the verification key as SendGrid shows it") from None
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("requires the verification key as SendGrid shows it")


def _event(item: dict[str, Any]) -> InboundEvent | None:
    event, address = text(item.get("event")), text(item.get("email"))
    if not event:
        return None
    kind = _KINDS.get(event, Kind.OTHER)
    if event == "bounce":
        word = Kind.SOFT_BOUNCE if item.get("type") == "blocked" else Kind.HARD_BOUNCE
        kind = delivery_status.bounce(item.get("status"), word)
    elif event == "dropped":
        kind = _DROPPED.get(text(item.get("reason")).lower(), Kind.OTHER)
    return InboundEvent(
        kind=kind,
        address=address,
        id=text(item.get("sg_event_id")) or None,
        occurred_at=micros(item.get("timestamp")),
        target=text(item.get("asm_group_id")) or None,
    )


PROVIDER = Provider(read=_read, longest_body=1_048_576, requires=frozenset({"secrets"}), not_on=NEVER_PHONES)
