"""Twilio: incoming messages and status callbacks, signed with the account's auth token (X-Twilio-Signature).

The signature is HMAC-SHA1 over the public URL and the form's fields by name, a repeated one once for each of its
values; where the body is JSON, over the URL alone, whose `bodySHA256` then covers the body. It has no time.
https://www.twilio.com/docs/usage/webhooks/webhooks-security
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping

from consent_api.inbound.providers.base import (
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
    header,
    members,
    missing,
    parameter,
    text,
    unreadable,
)

_SIGNATURE = "x-twilio-signature"
_OPTED_OUT = "21610"
_UNREACHABLE_FOR_GOOD = frozenset({"30005", "30006", "21211", "21614"})
_STATUSES = {"delivered": Kind.DELIVERED, "undelivered": Kind.SOFT_BOUNCE, "failed": Kind.SOFT_BOUNCE}
_OPT_OUT_TYPES = {"STOP": Kind.STOP, "START": Kind.OPT_IN, "HELP": Kind.OTHER}


def _read(webhook: Webhook, account: Account, _now: int) -> Payload:
    signature = header(webhook, _SIGNATURE)
    if webhook.media_type() == "application/json":
        digest = parameter(webhook, "bodySHA256")
        if not digest:
            raise missing("bodySHA256")
        if not equal(digest, hashlib.sha256(webhook.body).hexdigest()):
            raise forged("bodySHA256")
        _require(signature, "", webhook, account)
        return _payload({name: text(value) for name, value in members(document(webhook.body)).items()})
    fields = form(webhook)
    by_name: dict[str, set[str]] = {}
    for name, value in fields:
        by_name.setdefault(name, set()).add(value)
    signed = "".join(name + value for name in sorted(by_name) for value in sorted(by_name[name]))
    _require(signature, signed, webhook, account)
    return _payload(dict(fields))


def _require(signature: str, signed: str, webhook: Webhook, account: Account) -> None:
    expected = [
        base64.b64encode(hmac.digest(secret.encode(), (url + signed).encode(), hashlib.sha1)).decode()
        for secret in account.secrets
        for url in _urls(account.url, webhook.query)
    ]
    if not any_equal(signature, expected):
        raise forged(_SIGNATURE)


def _urls(public: str, query: str) -> list[str]:
    """The URL as Twilio may have signed it: with its port and without, with a slash at its end and without."""
    parts = urllib.parse.urlsplit(public)
    host = parts.netloc.rpartition("@")[2]
    name, separator, port = host.rpartition(":")
    if not separator or not port.isdecimal():
        name, port = host, ""
    hosts = [name, f"{name}:{port or ('443' if parts.scheme == 'https' else '80')}"]
    path = parts.path.removesuffix("/")
    return [
        urllib.parse.urlunsplit((parts.scheme, each, ending, query or parts.query, ""))
        for each in hosts
        for ending in (path, f"{path}/")
    ]


def _payload(fields: Mapping[str, str]) -> Payload:
    sid = fields.get("MessageSid") or fields.get("SmsSid")
    if not sid:
        raise unreadable("MessageSid", "point a messaging webhook of Twilio here")
    status = fields.get("MessageStatus")
    if status is not None:
        return Payload(events=[_status(sid, status, fields)])
    kind = _OPT_OUT_TYPES.get(fields.get("OptOutType", "").upper(), Kind.REPLY)
    return Payload(
        events=[InboundEvent(kind=kind, address=_number(fields.get("From", "")), id=sid, text=fields.get("Body", ""))]
    )


def _status(sid: str, status: str, fields: Mapping[str, str]) -> InboundEvent:
    error = fields.get("ErrorCode", "")
    kind = _STATUSES.get(status, Kind.OTHER)
    if error == _OPTED_OUT:
        kind = Kind.OPT_OUT
    elif kind is Kind.SOFT_BOUNCE and error in _UNREACHABLE_FOR_GOOD:
        kind = Kind.HARD_BOUNCE
    return InboundEvent(kind=kind, address=_number(fields.get("To", "")), id=f"{sid} {status}")


def _number(address: str) -> str:
    """Without the channel in front: whatsapp:, rcs:."""
    return address.rpartition(":")[2]


PROVIDER = Provider(
    read=_read,
    answer=b"<Response></Response>",
    media_type="text/xml",
    requires=frozenset({"secrets", "url"}),
    not_on=NEVER_MAIL,
)
