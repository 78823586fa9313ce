"""Vonage: the SMS API's signed webhooks (`sig`), and the Messages API's (a JWT whose `payload_hash` covers the body).

https://developer.vonage.com/en/getting-started/concepts/signing-messages
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from consent_api.inbound.providers.base import (
    CLOCK_SKEW_SECONDS,
    NEVER_MAIL,
    Account,
    InboundEvent,
    Kind,
    Payload,
    Provider,
    Webhook,
    any_equal,
    document,
    equal,
    forged,
    form,
    members,
    micros,
    missing,
    moment,
    outdated,
    text,
    unreadable,
)

_HMAC = {32: hashlib.md5, 40: hashlib.sha1, 64: hashlib.sha256, 128: hashlib.sha512}
_PERMANENT = frozenset({"3", "9"})
"""Absent for good, illegal number."""


def _read(webhook: Webhook, account: Account, now: int) -> Payload:
    scheme, _, token = webhook.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        _require_jwt(token.strip(), webhook.body, account, now)
        return Payload(events=[_message(members(document(webhook.body)))])
    if webhook.media_type() == "application/json":
        fields = {name: text(value) for name, value in members(document(webhook.body)).items()}
    else:
        fields = dict(form(webhook))
    _require_sig(fields, account)
    return Payload(events=[_sms(fields)])


def _require_sig(fields: Mapping[str, str], account: Account) -> None:
    given = fields.get("sig", "")
    if not given:
        raise missing("sig")
    algorithm = _HMAC.get(len(given))
    if algorithm is None:
        raise forged("sig")
    signed = "".join(f"&{name}={_escaped(fields[name])}" for name in sorted(fields) if name != "sig")
    expected = [
        hmac.new(secret.encode(), signed.encode("utf-8", "replace"), algorithm).hexdigest()
        for secret in account.secrets
    ]
    if algorithm is hashlib.md5:
        expected += [
            hashlib.md5((signed + each).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
            for each in account.secrets
        ]
    if not any_equal(given.lower(), expected):
        raise forged("sig")


def _escaped(value: str) -> str:
    return value.replace("&", "_").replace("=", "_")


def _require_jwt(token: str, body: bytes, account: Account, now: int) -> None:
    head, _, rest = token.partition(".")
    claims, _, signature = rest.partition(".")
    if members(_part(head)).get("alg") != "HS256":
        raise forged("authorization")
    signed = f"{head}.{claims}".encode()
    expected = [_base64url(hmac.digest(secret.encode(), signed, hashlib.sha256)) for secret in account.secrets]
    if not any_equal(signature.rstrip("="), expected):
        raise forged("authorization")
    said = members(_part(claims))
    if not equal(text(said.get("payload_hash")).lower(), hashlib.sha256(body).hexdigest()):
        raise forged("payload_hash")
    issued, ends = micros(said.get("iat")), micros(said.get("exp"))
    if issued is None or issued > (now + CLOCK_SKEW_SECONDS) * 1_000_000:
        raise outdated("iat")
    if ends is not None and ends < (now - CLOCK_SKEW_SECONDS) * 1_000_000:
        raise outdated("exp")


def _part(encoded: str) -> object:
    try:
        return document(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (binascii.Error, ValueError):
        raise forged("authorization") from None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _message(fields: Mapping[str, object]) -> InboundEvent:
    uuid = text(fields.get("message_uuid"))
    if not uuid:
        raise unreadable("message_uuid", "point a webhook of the Messages API here")
    when = moment(fields.get("timestamp"))
    status = text(fields.get("status"))
    if status:
        kind = {"delivered": Kind.DELIVERED, "rejected": Kind.SOFT_BOUNCE, "undeliverable": Kind.SOFT_BOUNCE}.get(
            status
        )
        return InboundEvent(
            kind=kind or Kind.OTHER, address=_number(text(fields.get("to"))), id=f"{uuid} {status}", occurred_at=when
        )
    sender = fields.get("from")
    number = text(members(sender).get("number")) or text(sender)
    # A button of ours that was pressed has its words in an object of its own, by channel.
    written = (
        text(fields.get("text"))
        or text(members(fields.get("reply")).get("title"))
        or text(members(fields.get("button")).get("text"))
    )
    return InboundEvent(kind=Kind.REPLY, address=_number(number), id=uuid, occurred_at=when, text=written)


def _sms(fields: Mapping[str, str]) -> InboundEvent:
    message_id = fields.get("messageId") or fields.get("message-id")
    if not message_id:
        raise unreadable("messageId", "point a webhook of the SMS API here")
    number = _number(fields.get("msisdn", ""))
    status = fields.get("status")
    if status is not None and "text" not in fields:
        if status in ("failed", "rejected", "expired"):
            kind = Kind.HARD_BOUNCE if fields.get("err-code") in _PERMANENT else Kind.SOFT_BOUNCE
        else:
            kind = Kind.DELIVERED if status == "delivered" else Kind.OTHER
        return InboundEvent(kind=kind, address=number, id=f"{message_id} {status}")
    return InboundEvent(
        kind=Kind.REPLY,
        address=number,
        id=f"{message_id} {fields.get('concat-part', '')}",
        occurred_at=micros(fields.get("timestamp")),
        text=fields.get("text", ""),
    )


def _number(msisdn: str) -> str:
    return f"+{msisdn}" if msisdn.isdecimal() else msisdn


# Some of its webhooks come unsigned, and signed when they are sent again: after 5xx, not after 4xx.
PROVIDER = Provider(read=_read, unsigned=503, requires=frozenset({"secrets"}), not_on=NEVER_MAIL)
