"""What a report by mail says: a complaint (ARF, RFC 5965) or a message that was not delivered (DSN, RFC 3464). Pure.

Anyone can send a mail, so this is bounded before it is parsed, and its headers are read as plain texts. Of whom it is
about, our own unsubscribe link in the returned message says most: it is sealed, and names one address. Else what the
report names counts. A mail of which no recipient can be known is refused.
"""

from __future__ import annotations

import email
import email.policy
import email.utils
import re
from collections.abc import Callable, Iterator, Sequence
from email.message import Message

from consent_api.inbound.providers import delivery_status
from consent_api.inbound.providers.base import InboundEvent, Kind, unreadable

LONGEST = 1_048_576
"""Bytes of a mail that are read. A report comes before the message that it returns: the beginning is enough."""
_MOST_LINES = 20_000
_MOST_PARTS = 20
"""The parser looks at each line once for each part that it is within."""
_LONGEST_FIELD = 4_096
MOST_RECIPIENTS = 100
"""In one report."""
_CONTAINERS = re.compile(rb"boundary[^=\n]{0,20}=|^content-type[ \t]*:\s*(?:multipart|message)/", re.I | re.M)
_CONTENT_FIELD = re.compile(rb"^(?:content-[a-z-]{1,40}|mime-version)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.I | re.M)
_OUR_LINK = re.compile(r"/[up]/([A-Za-z0-9_-]{40,2048})(?![A-Za-z0-9_-])", re.A)
_ADDRESS = re.compile(r"[^\s<>()\"',;:@][^\s<>()\",;:@]{0,63}@[^\s<>()\"',;:@]{1,255}")
_NO_COMPLAINT = frozenset({"not-spam", "auth-failure", "dmarc"})
_CURE = "send a feedback report (ARF) or a delivery status notification (DSN), with the message that it returns"

OpenLink = Callable[[str], str | None]
"""The address that a token of a link of ours is for, on the channel of the source; None for any other text."""


def read_report(mail: bytes, open_link: OpenLink, *, name: str) -> Sequence[InboundEvent]:
    """The events of one mail. ``name``: by which a repetition is recognised. WebhookRefusedError."""
    message = _parsed(mail)
    if message.get_content_type() != "multipart/report":
        raise unreadable("body", _CURE)
    by_type: dict[str, Message] = {}
    for part in _blocks(message):
        by_type.setdefault(part.get_content_type(), part)
    linked = _linked(by_type, open_link)
    if (feedback := by_type.get("message/feedback-report")) is not None:
        return _complaints(_block(feedback), _returned(by_type), linked, name)
    if (status := by_type.get("message/delivery-status")) is not None:
        return _failures(_blocks(status), linked, name)
    if (status := by_type.get("message/global-delivery-status")) is not None:  # RFC 6533
        return _failures(_all_blocks(status), linked, name)
    raise unreadable("body", _CURE)


def _parsed(mail: bytes) -> Message:
    mail = mail[:LONGEST].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    mail = b"\n".join(mail.split(b"\n", _MOST_LINES)[:_MOST_LINES])
    if len(_CONTAINERS.findall(mail)) > _MOST_PARTS:
        raise unreadable("body", "send a mail of fewer parts")
    # The parser's time grows with the square of these.
    if any(len(each[0]) > _LONGEST_FIELD for each in _CONTENT_FIELD.finditer(mail)):
        raise unreadable("body", "send a mail with shorter Content fields")
    try:
        return email.message_from_bytes(mail, policy=email.policy.compat32)
    except (RecursionError, ValueError, LookupError, AssertionError):
        raise unreadable("body", _CURE) from None


def _complaints(
    report: Message | None, returned: Message | None, linked: str | None, name: str
) -> Sequence[InboundEvent]:
    if report is None or not (kind := _field(report, "Feedback-Type")):
        raise unreadable("Feedback-Type", _CURE)
    known = Kind.OTHER if _word(kind) in _NO_COMPLAINT else Kind.COMPLAINT
    recipients = [linked] if linked is not None else list(_addresses(report, "Original-Rcpt-To"))
    if not recipients:  # Of an opt-out report, as drafts of RFC 5965 had it.
        recipients += _addresses(report, "Removal-Recipient")
    if not recipients:
        for part in (report, returned):
            recipients += _addresses(part, "X-HmXmrOriginalRecipient") if part is not None else []
    if not recipients:
        if known is Kind.OTHER:
            return [InboundEvent(kind=known, address="", id=name)]
        raise unreadable("Original-Rcpt-To", "name the recipient, or return the message with its List-Unsubscribe")
    # The time of a complaint is that of its receipt: what it names is when the message came.
    return [
        InboundEvent(kind=known, address=each, id=f"{name} {number}")
        for number, each in enumerate(dict.fromkeys(recipients))
    ]


def _failures(blocks: Sequence[Message], linked: str | None, name: str) -> Sequence[InboundEvent]:
    of_recipients = [each for each in blocks if _field(each, "Final-Recipient") or _field(each, "Original-Recipient")]
    events: list[InboundEvent] = []
    for number, each in enumerate(of_recipients[:MOST_RECIPIENTS]):
        failed = _word(_field(each, "Action")) == "failed"
        kind = delivery_status.bounce(_field(each, "Status"), Kind.SOFT_BOUNCE) if failed else Kind.OTHER
        address = linked if linked is not None and len(of_recipients) == 1 else _recipient(each)
        if failed and address is None:
            raise unreadable("Final-Recipient", "name the recipient, or return the message with its List-Unsubscribe")
        events.append(
            InboundEvent(
                kind=kind,
                address=address or "",
                id=f"{name} {number}",
                occurred_at=_moment(_field(each, "Last-Attempt-Date")),
            )
        )
    if not events:
        raise unreadable("Final-Recipient", _CURE)
    return events


def _recipient(block: Message) -> str | None:
    """As the sender wrote it, before forwarding."""
    found = [*_addresses(block, "Original-Recipient"), *_addresses(block, "Final-Recipient")]
    return found[0] if found else None


def _returned(by_type: dict[str, Message]) -> Message | None:
    """The header of the message that came back."""
    part = by_type.get("message/rfc822") or by_type.get("message/global")
    if part is not None:
        return _block(part)
    part = by_type.get("text/rfc822-headers")
    payload = part.get_payload() if part is not None else None
    if not isinstance(payload, str):
        return None
    return email.message_from_string(payload.partition("\n\n")[0], policy=email.policy.compat32)


def _linked(by_type: dict[str, Message], open_link: OpenLink) -> str | None:
    returned = _returned(by_type)
    if returned is None:
        return None
    tokens = _OUR_LINK.findall(_field(returned, "List-Unsubscribe"))
    return next(filter(None, map(open_link, tokens[:3])), None)


def _block(part: Message) -> Message | None:
    blocks = _blocks(part)
    return blocks[0] if blocks else None


def _blocks(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [each for each in payload if isinstance(each, Message)] if isinstance(payload, list) else []


def _all_blocks(part: Message) -> list[Message]:
    """Of a type in which the parser takes the first block for the header of a message, and the others for its text."""
    found = _blocks(part)
    rest = found[0].get_payload() if found else None
    texts = rest.split("\n\n", MOST_RECIPIENTS) if isinstance(rest, str) else []
    return found + [email.message_from_string(each.lstrip("\n"), policy=email.policy.compat32) for each in texts]


def _field(block: Message, name: str) -> str:
    """A field as a text, unfolded; empty where it is missing or too long."""
    value = block.get(name)
    found = " ".join(str(value).split()) if value is not None else ""
    return found if len(found) <= _LONGEST_FIELD else ""


def _word(field: str) -> str:
    """Of a field with one word, and perhaps a comment: failed (mailbox unknown)."""
    return field.partition("(")[0].strip().lower()


def _addresses(block: Message, name: str) -> Iterator[str]:
    """Of each such field, `rfc822;person@example.com` or `<person@example.com>`."""
    for value in block.get_all(name, [])[:MOST_RECIPIENTS]:
        found = _ADDRESS.search(str(value)[:_LONGEST_FIELD])
        if found is not None:
            yield found[0]


def _moment(date: str) -> int | None:
    """A time as in RFC 5322, in micros; None for one without an offset."""
    try:
        found = email.utils.parsedate_tz(date[:100])
    except (ValueError, IndexError):
        return None
    if found is None or found[9] is None:
        return None
    try:
        seconds = email.utils.mktime_tz(found)
    except (ValueError, OverflowError):
        return None
    return int(seconds * 1_000_000) if 0 < seconds < 1e11 else None
