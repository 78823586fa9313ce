"""Webhooks as providers send and sign them, built to their documentation and apart from our reading of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
CERTIFICATE_URL = "https://sns.eu-west-3.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
TOPIC = "arn:aws:sns:eu-west-3:000000000000:ses-events"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request as it leaves the provider."""

    body: bytes
    headers: Mapping[str, str]
    query: str = ""

    def changed(self, **changes: Any) -> Sent:
        return replace(self, **changes)

    def without(self, header: str) -> Sent:
        return replace(self, headers={name: value for name, value in self.headers.items() if name != header})


def secret() -> str:
    return secrets.token_hex(20)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def twilio(fields: Sequence[tuple[str, str]], *, token: str, url: str) -> Sent:
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    signature = base64.b64encode(hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()).decode()
    body = urllib.parse.urlencode(fields).encode()
    return Sent(body=body, headers={"content-type": FORM, "x-twilio-signature": signature})


def twilio_reply(text: str, *, token: str, url: str, number: str = "+33639980001", sid: str = "", **more: str) -> Sent:
    sid = sid or f"SM{secrets.token_hex(16)}"
    fields = {"From": number, "To": "38000", "Body": text, "MessageSid": sid, "SmsStatus": "received", **more}
    return twilio(list(fields.items()), token=token, url=url)


def twilio_json(fields: Mapping[str, str], *, token: str, url: str) -> Sent:
    body = _json(fields)
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = base64.b64encode(hmac.new(token.encode(), f"{url}?{query}".encode(), hashlib.sha1).digest()).decode()
    return Sent(body=body, headers={"content-type": JSON, "x-twilio-signature": signature}, query=query)


def vonage_sms(fields: Mapping[str, str], *, key: str, method: str = "sha256") -> Sent:
    text = "".join(f"&{name}={fields[name].replace('&', '_').replace('=', '_')}" for name in sorted(fields))
    if method == "md5hash":
        sig = hashlib.md5((text + key).encode()).hexdigest()
    else:
        sig = hmac.new(key.encode(), text.encode(), method).hexdigest().upper()
    return Sent(body=urllib.parse.urlencode({**fields, "sig": sig}).encode(), headers={"content-type": FORM})


def vonage_message(fields: Mapping[str, Any], *, key: str, now: int, algorithm: str = "HS256", **claims: Any) -> Sent:
    body = _json(fields)
    said = {"iat": now, "jti": secrets.token_hex(8), "payload_hash": hashlib.sha256(body).hexdigest(), **claims}
    parts = [
        base64.urlsafe_b64encode(_json(part)).rstrip(b"=").decode() for part in ({"alg": algorithm, "typ": "JWT"}, said)
    ]
    digest = hmac.new(key.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    token = ".".join([*parts, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()])
    return Sent(body=body, headers={"content-type": JSON, "authorization": f"Bearer {token}"})


class Sns:
    """SNS's side: a signing certificate of our own."""

    def __init__(self, *, valid_from: datetime | None = None, days: int = 30) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        begins = valid_from or datetime.now(UTC) - timedelta(days=1)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=days))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def fetch(self, url: str) -> bytes:
        assert url == CERTIFICATE_URL
        return self.certificate

    def notification(self, message: object, *, version: str = "1", **changes: str) -> Sent:
        envelope = {
            "Type": "Notification",
            "MessageId": secrets.token_hex(16),
            "TopicArn": TOPIC,
            "Message": json.dumps(message),
            "Timestamp": "2026-11-26T10:00:00.000Z",
            **changes,
        }
        return self._signed(envelope, ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"), version)

    def confirmation(self, url: str) -> Sent:
        envelope = {
            "Type": "SubscriptionConfirmation",
            "MessageId": secrets.token_hex(16),
            "TopicArn": TOPIC,
            "Token": secrets.token_hex(32),
            "Message": "You have chosen to subscribe.",
            "SubscribeURL": url,
            "Timestamp": "2026-11-26T10:00:00.000Z",
        }
        names = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
        return self._signed(envelope, names, "1")

    def _signed(self, envelope: dict[str, str], names: Sequence[str], version: str) -> Sent:
        text = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()
        whole = {"SignatureVersion": version, "Signature": signature, "SigningCertURL": CERTIFICATE_URL, **envelope}
        return Sent(body=_json(whole), headers={"content-type": "text/plain; charset=UTF-8"})


class SendGrid:
    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.verification_key = base64.b64encode(public).decode()

    def events(self, *events: Mapping[str, Any], timestamp: str = "1790000000") -> Sent:
        body = _json(list(events)) + b"\r\n"
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return Sent(
            body=body,
            headers={
                "content-type": JSON,
                "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
                "x-twilio-email-event-webhook-timestamp": timestamp,
            },
        )


def mailgun(event: Mapping[str, Any], *, key: str, now: int, token: str = "") -> Sent:
    token = token or secrets.token_hex(25)
    signature = hmac.new(key.encode(), f"{now}{token}".encode(), hashlib.sha256).hexdigest()
    signed = {"timestamp": str(now), "token": token, "signature": signature}
    return Sent(body=_json({"signature": signed, "event-data": event}), headers={"content-type": JSON})


def mailchimp(fields: Mapping[str, str], *, key: str) -> Sent:
    return Sent(body=urllib.parse.urlencode(fields).encode(), headers={"content-type": FORM}, query=f"secret={key}")


def bearer(value: object, *, key: str) -> Sent:
    """Brevo's, and any other that sends a token."""
    return Sent(body=_json(value), headers={"content-type": JSON, "authorization": f"Bearer {key}"})


def basic(value: object, *, key: str, user: str = "mailjet") -> Sent:
    """Mailjet's: user and password in the URL become basic authentication."""
    credentials = base64.b64encode(f"{user}:{key}".encode()).decode()
    return Sent(body=_json(value), headers={"content-type": JSON, "authorization": f"Basic {credentials}"})


def webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def standard(value: object, *, key: str, now: int, message_id: str = "") -> Sent:
    return _standard(_json(value), key=key, now=now, message_id=message_id, media_type=JSON)


def mail(body: bytes, *, key: str, now: int) -> Sent:
    return _standard(body, key=key, now=now, message_id="", media_type="message/rfc822")


def complaint(address: str) -> bytes:
    """A feedback report about a mail to this address (RFC 5965)."""
    return f"""From: <feedback@example.net>
Content-Type: multipart/report; report-type=feedback-report; boundary="part"

--part
Content-Type: text/plain

This is a report.
--part
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Rcpt-To: <{address}>

--part
Content-Type: text/rfc822-headers

Subject: News
--part--
""".encode()


def _standard(body: bytes, *, key: str, now: int, message_id: str, media_type: str) -> Sent:
    message_id = message_id or f"msg_{secrets.token_hex(8)}"
    signed = f"{message_id}.{now}.".encode() + body
    digest = hmac.new(base64.b64decode(key.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return Sent(
        body=body,
        headers={
            "content-type": media_type,
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        },
    )
