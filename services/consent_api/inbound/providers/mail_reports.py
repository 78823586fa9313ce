"""What a report by mail says: a complaint (ARF, RFC 5965) or a message that was not delivered (DSN, RFC 3464). Pure.

Anyone can send a mail, so this is bounded before it is parsed, and its headers are read as plain texts. Of whom it is
about, our own unsubscribe link in the returned message says most: it is sealed, and names one address. Else what the
report names counts. A mail of which no recipient can be known is refused.
"""

from __future__ import annotations

import email.policy
import email.utils
import re
from collections.abc import Callable, Iterator, Sequence
from email.message import Message
from email.parser import HeaderParser, Parser

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
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_ENCODED_LETTER = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
"""A letter of an address of the type utf-8 (RFC 6533)."""
_UNREADABLE = "\ufffd"
_ADDRESS = re.compile(r"[^\s<>()\"',;:@][^\s<>()\",;:@]{0,63}@[^\s<>()\"',;:@]{1,255}")
_NO_COMPLAINT = frozenset({"not-spam", "auth-failure", "dmarc"})
_CURE = "send a feedback report (ARF) or a delivery status notification (DSN), with the message that it returns"

OpenLink = Callable[[str], str | None]
"""The address that a token of a link of ours is for, on the channel of the source; None for any other text."""


class _Part(Message):
    """A part of which the parser leaves the content as it is, also where that is a message or a report."""

    def get_content_type(self) -> str:
        return "text/plain" if self.kind.startswith("message/") else self.kind

    @property
    def kind(self) -> str:
        return super().get_content_type()


def read_report(mail: bytes, open_link: OpenLink, *, name: str) -> Sequence[InboundEvent]:
    """The events of one mail. ``name``: by which a repetition is recognised. WebhookRefusedError."""
    message = _parsed(mail)
    # A gateway that adds a footer puts the report into a part.
    report = next((each for each in [message, *_parts(message)] if each.kind == "multipart/report"), None)
    if report is None:
        raise unreadable("body", _CURE)
    by_kind: dict[str, _Part] = {}
    for part in _parts(report):
        by_kind.setdefault(part.kind, part)
    linked = _linked(by_kind, open_link)
    if (feedback := by_kind.get("message/feedback-report")) is not None:
        return _complaints(_blocks(feedback), _returned(by_kind), linked, name)
    for kind in ("message/delivery-status", "message/global-delivery-status"):  # RFC 3464, RFC 6533
        if (status := by_kind.get(kind)) is not None:
            return _failures(_blocks(status), linked, name)
    raise unreadable("body", _CURE)


def _parsed(mail: bytes) -> _Part:
    mail = mail[:LONGEST].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    mail = b"\n".join(mail.split(b"\n", _MOST_LINES)[:_MOST_LINES])
    if len(_CONTAINERS.findall(mail)) > _MOST_PARTS:
        raise unreadable("body", "send a mail of fewer parts")
    # The parser's time grows with the square of these.
    if any(len(each[0]) > _LONGEST_FIELD for each in _CONTENT_FIELD.finditer(mail)):
        raise unreadable("body", "send a mail with shorter Content fields")
    try:
        message = Parser(_Part, policy=email.policy.compat32).parsestr(mail.decode("utf-8", "replace"))
    except (RecursionError, ValueError, LookupError, AssertionError):
        raise unreadable("body", _CURE) from None
    assert isinstance(message, _Part)
    return message


def _complaints(
    blocks: Sequence[Message], returned: Message | None, linked: str | None, name: str
) -> Sequence[InboundEvent]:
    report = blocks[0]
    if not (kind := _field(report, "Feedback-Type")):
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
        # What the other server answered counts where the status is missing, or general.
        answered = delivery_status.bounce(_field(each, "Diagnostic-Code"), Kind.SOFT_BOUNCE)
        kind = delivery_status.bounce(_field(each, "Status"), answered) if failed else Kind.OTHER
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


def _returned(by_kind: dict[str, _Part]) -> Message | None:
    """The header of the message that came back."""
    for kind in ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"):
        if (part := by_kind.get(kind)) is not None:
            return _blocks(part, most=1)[0]
    return None


def _linked(by_kind: dict[str, _Part], open_link: OpenLink) -> str | None:
    returned = _returned(by_kind)
    if returned is None:
        return None
    tokens = _OUR_LINK.findall(_field(returned, "List-Unsubscribe"))
    return next(filter(None, map(open_link, tokens[:3])), None)


def _parts(message: _Part) -> list[_Part]:
    payload = message.get_payload()
    return [each for each in payload if isinstance(each, _Part)] if isinstance(payload, list) else []


def _blocks(part: _Part, *, most: int = 2 * MOST_RECIPIENTS) -> list[Message]:
    """Its content, block by block of fields; one at least. Fields alone: what a Content-Type in them says is not
    parsed, which takes minutes for some."""
    texts = _BLANK_LINES.split(_content(part).strip(), most)[:most]
    return [HeaderParser(policy=email.policy.compat32).parsestr(each) for each in texts]


def _content(part: _Part) -> str:
    """Without its transfer encoding, which RFC 6533 allows for a report; RFC 3464 and 5965 do not, and it is there."""
    payload = part.get_payload()
    if not isinstance(payload, str):
        return ""
    if _word(_field(part, "Content-Transfer-Encoding")) not in ("base64", "quoted-printable"):
        return payload
    content = part.get_payload(decode=True)
    return content.decode("utf-8", "replace").replace("\r\n", "\n") if isinstance(content, bytes) else ""


def _field(block: Message, name: str) -> str:
    """A field as a text, unfolded; empty where it is missing or too long."""
    value = block.get(name)
    found = " ".join(str(value).split()) if value is not None else ""
    return found if len(found) <= _LONGEST_FIELD else ""


def _word(field: str) -> str:
    """Of a field with one word, and perhaps a comment: failed (mailbox unknown)."""
    return field.partition("(")[0].strip().lower()


def _addresses(block: Message, name: str) -> Iterator[str]:
    """Of each such field, `rfc822;person@example.com` or `<person@example.com>`, or several of these."""
    for value in block.get_all(name, [])[:MOST_RECIPIENTS]:
        written = _ENCODED_LETTER.sub(_letter, str(value)[:_LONGEST_FIELD])
        for each in written.split(",", MOST_RECIPIENTS):
            found = _ADDRESS.search(each)
            if found is not None and _UNREADABLE not in each:
                yield found[0]


def _letter(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return chr(code) if code < 0xD800 or 0xDFFF < code < 0x110000 else _UNREADABLE


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
