"""AWS SNS: SES events and End User Messaging replies, signed with a certificate that the message names.

Anyone's own topic signs validly, so the topics are pinned; so is the host of the certificate.
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from consent_api.inbound.providers import delivery_status
from consent_api.inbound.providers.base import (
    Account,
    InboundEvent,
    Kind,
    Payload,
    Provider,
    Webhook,
    collect,
    document,
    forged,
    members,
    missing,
    moment,
    text,
)

_HOST = re.compile(r"sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(?:\.cn)?")
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_HASHES: Mapping[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 - version 1 is SNS's default


_OF_THE_MESSAGE = frozenset({"MessageTooLarge", "ContentRejected", "AttachmentRejected"})


def _read(webhook: Webhook, account: Account, now: int) -> Payload:
    envelope = members(document(webhook.body))
    kind = text(envelope.get("Type"))
    _require(envelope, kind, account, now)
    if kind == "SubscriptionConfirmation":
        url = text(envelope.get("SubscribeURL"))
        if not on_sns(url):
            raise forged("SubscribeURL")
        return Payload(confirm=url)
    if kind != "Notification":
        return Payload(events=[InboundEvent(kind=Kind.OTHER, address="", id=text(envelope.get("MessageId")))])
    message = document(text(envelope.get("Message")))
    return collect([message], lambda item: _events(item, text(envelope.get("MessageId"))))


def on_sns(url: str, *, suffix: str = "") -> bool:
    """Whether a URL is SNS's own: https, its host, no port, no credentials."""
    try:
        parts = urllib.parse.urlsplit(url)
        return (
            parts.scheme == "https"
            and _HOST.fullmatch(parts.netloc) is not None
            and parts.path.endswith(suffix)
            and "\\" not in url
            and not any(each.isspace() or ord(each) < 33 for each in url)
        )
    except ValueError:
        return False


def _require(envelope: Mapping[str, Any], kind: str, account: Account, now: int) -> None:
    if not text(envelope.get("Signature")):
        raise missing("Signature")
    if text(envelope.get("TopicArn")) not in account.topics:
        raise forged("TopicArn")
    algorithm = _HASHES.get(text(envelope.get("SignatureVersion")))
    url = text(envelope.get("SigningCertURL"))
    if algorithm is None:
        raise forged("SignatureVersion")
    if not on_sns(url, suffix=".pem") or urllib.parse.urlsplit(url).query:
        raise forged("SigningCertURL")
    names = _NOTIFICATION if kind == "Notification" else _CONFIRMATION
    signed = "".join(f"{name}\n{text(envelope[name])}\n" for name in names if envelope.get(name) is not None)
    try:
        certificate = x509.load_pem_x509_certificate(account.fetch(url))
    except ValueError:
        raise forged("SigningCertURL") from None
    moment_now = datetime.fromtimestamp(now, UTC)
    key = certificate.public_key()
    if not certificate.not_valid_before_utc <= moment_now <= certificate.not_valid_after_utc:
        raise forged("SigningCertURL")
    if not isinstance(key, rsa.RSAPublicKey):
        raise forged("SigningCertURL")
    try:
        signature = base64.b64decode(text(envelope["Signature"]), validate=True)
        key.verify(signature, signed.encode(), padding.PKCS1v15(), algorithm)
    except (InvalidSignature, binascii.Error, ValueError):
        raise forged("Signature") from None


def _events(message: Mapping[str, Any], message_id: str) -> Sequence[InboundEvent] | None:
    if text(message.get("originationNumber")):
        return [
            InboundEvent(
                kind=Kind.REPLY,
                address=text(message.get("originationNumber")),
                id=text(message.get("inboundMessageId")) or message_id,
                text=text(message.get("messageBody")),
            )
        ]
    event = text(message.get("eventType")) or text(message.get("notificationType"))
    if not event:
        return None
    found = [
        InboundEvent(kind=kind, address=address, id=f"{message_id} {number}", occurred_at=when)
        for number, (kind, address, when) in enumerate(_ses(event, message))
    ]
    return found or None


def _ses(event: str, message: Mapping[str, Any]) -> list[tuple[Kind, str, int | None]]:
    mail = members(message.get("mail"))
    to = mail.get("destination")
    recipients_of_mail = [text(each) for each in to] if isinstance(to, list) else []
    if event == "Bounce":
        bounce = members(message.get("bounce"))
        hard = bounce.get("bounceType") == "Permanent" and text(bounce.get("bounceSubType")) not in _OF_THE_MESSAGE
        word = Kind.HARD_BOUNCE if hard else Kind.SOFT_BOUNCE
        return [
            (delivery_status.bounce(members(each).get("status"), word), text(members(each).get("emailAddress")), when)
            for each, when in _recipients(bounce, "bouncedRecipients")
        ]
    if event == "Complaint":
        complaint = members(message.get("complaint"))
        kind = Kind.OTHER if complaint.get("complaintFeedbackType") == "not-spam" else Kind.COMPLAINT
        return [
            (kind, text(members(each).get("emailAddress")), when)
            for each, when in _recipients(complaint, "complainedRecipients")
        ]
    if event == "Subscription":
        change = members(message.get("subscription"))
        when = moment(change.get("timestamp"))
        return [(Kind.OPT_OUT if _leaves(change) else Kind.OPT_IN, each, when) for each in recipients_of_mail]
    if event == "Delivery":
        delivery = members(message.get("delivery"))
        return [(Kind.DELIVERED, text(each), when) for each, when in _recipients(delivery, "recipients")]
    return [(Kind.OTHER, each, None) for each in recipients_of_mail]


def _recipients(part: Mapping[str, Any], name: str) -> list[tuple[object, int | None]]:
    found = part.get(name)
    when = moment(part.get("timestamp"))
    return [(each, when) for each in found] if isinstance(found, list) else []


def _leaves(change: Mapping[str, Any]) -> bool:
    """Whether a change of preferences leaves a topic, or all."""
    new, old = members(change.get("newTopicPreferences")), members(change.get("oldTopicPreferences"))
    if new.get("unsubscribeAll") is True:
        return True
    return bool(_left(new) - _left(old))


def _left(preferences: Mapping[str, Any]) -> set[str]:
    topics = preferences.get("topicSubscriptionStatus")
    return {
        text(members(each).get("topicName"))
        for each in (topics if isinstance(topics, list) else [])
        if members(each).get("subscriptionStatus") == "OptOut"
    }


PROVIDER = Provider(read=_read, longest_body=524_288, in_thread=True, requires=frozenset({"topics"}))
