"""Complaints and failed deliveries that come by mail: samples to RFC 5965 and RFC 3464, and hostile mails (R21)."""

from __future__ import annotations

import base64
import quopri
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.errors import RefusedWebhook, WebhookRefusedError
from consent_api.inbound.providers.base import InboundEvent, Kind
from consent_api.inbound.providers.mail_reports import LONGEST, read_report
from tests.support.tables import each_of

TOKEN = "t" * 60
LINKED = "linked@example.com"
REPORT = """Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
{extra}"""
RETURNED = """From: <news@example.com>
To: <redacted>
Subject: News
{extra}

Hello"""


def opened(token: str) -> str | None:
    return LINKED if token == TOKEN else None


def mail(report_type: str, part_type: str, report: str, returned: str = RETURNED.format(extra="X-Id: 1")) -> bytes:
    return f"""From: <feedback@example.net>
To: <fbl@example.com>
Message-ID: <1@example.net>
MIME-Version: 1.0
Content-Type: multipart/report; report-type={report_type};
\tboundary="part"

--part
Content-Type: text/plain; charset="US-ASCII"

This is a report.

--part
Content-Type: {part_type}

{report}

--part
Content-Type: message/rfc822
Content-Disposition: inline

{returned}
--part--
""".replace("\n", "\r\n").encode()


def arf(extra: str = "", returned: str = "X-Id: 1", kind: str = "abuse") -> bytes:
    report = REPORT.format(extra=extra).replace("abuse", kind)
    return mail("feedback-report", "message/feedback-report", report, RETURNED.format(extra=returned))


def dsn(*recipients: str, returned: str = "X-Id: 1", part_type: str = "message/delivery-status") -> bytes:
    blocks = ["Reporting-MTA: dns; mx.example.net\nArrival-Date: Mon, 21 Sep 2026 16:13:20 +0200", *recipients]
    return mail("delivery-status", part_type, "\n\n".join(blocks), RETURNED.format(extra=returned))


def block(status: str = "5.1.1", action: str = "failed", extra: str = "") -> str:
    return f"{extra}Final-Recipient: rfc822; person@example.com\nAction: {action}\nStatus: {status}"


def read(mail: bytes, open_link: Callable[[str], str | None] = opened) -> list[tuple[Kind, str]]:
    return [(each.kind, each.address) for each in events(mail, open_link)]


def events(mail: bytes, open_link: Callable[[str], str | None] = opened) -> list[InboundEvent]:
    return list(read_report(mail, open_link, name="n"))


OURS = f"List-Unsubscribe: <mailto:leave@example.com>,\n <https://consent.example.com/u/{TOKEN}>"
COMPLAINT, HARD, SOFT, OTHER = Kind.COMPLAINT, Kind.HARD_BOUNCE, Kind.SOFT_BOUNCE, Kind.OTHER


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (arf("Original-Rcpt-To: <person@example.com>"), [(COMPLAINT, "person@example.com")]),
        (arf("Original-Rcpt-To: rfc822;person@example.com"), [(COMPLAINT, "person@example.com")]),
        (
            arf(
                "Original-Rcpt-To: o'b@example.com\nOriginal-Rcpt-To: <b@example.com>\nOriginal-Rcpt-To: b@example.com"
            ),
            [(COMPLAINT, "o'b@example.com"), (COMPLAINT, "b@example.com")],
        ),
        # Our own link says whose it is, whatever the report claims.
        (arf("Original-Rcpt-To: <other@example.com>", OURS), [(COMPLAINT, LINKED)]),
        (arf("Original-Rcpt-To: <redacted>", OURS), [(COMPLAINT, LINKED)]),
        (arf("", OURS), [(COMPLAINT, LINKED)]),
        (
            arf("Original-Rcpt-To: <person@example.com>", OURS.replace(TOKEN, "x" * 60)),
            [(COMPLAINT, "person@example.com")],
        ),
        (arf("", "X-HmXmrOriginalRecipient: <person@example.com>"), [(COMPLAINT, "person@example.com")]),
        *(
            (arf("Original-Rcpt-To: <person@example.com>", kind=kind), [(found, "person@example.com")])
            for kind, found in (
                ("fraud", COMPLAINT),
                ("virus", COMPLAINT),
                ("other", COMPLAINT),
                ("opt-out", COMPLAINT),
                ("something-new", COMPLAINT),
                ("Not-Spam", OTHER),
                ("auth-failure", OTHER),
            )
        ),
        (arf(kind="not-spam"), [(OTHER, "")]),
        (dsn(block()), [(HARD, "person@example.com")]),
        (dsn(block("5.2.2")), [(SOFT, "person@example.com")]),
        (dsn(block("5.7.1")), [(SOFT, "person@example.com")]),
        (dsn(block("4.4.1")), [(SOFT, "person@example.com")]),
        (dsn(block("5.0.0")), [(SOFT, "person@example.com")]),
        (dsn(block(action="delayed")), [(OTHER, "person@example.com")]),
        (dsn(block(action="delivered")), [(OTHER, "person@example.com")]),
        # Who was written to, and not to whom that was forwarded.
        (dsn(block(extra="Original-Recipient: rfc822;first@example.com\n")), [(HARD, "first@example.com")]),
        (dsn(block(), returned=OURS), [(HARD, LINKED)]),
        (
            dsn(block(), block("5.2.2", extra="Original-Recipient: rfc822;b@example.com\n"), returned=OURS),
            [(HARD, "person@example.com"), (SOFT, "b@example.com")],
        ),
        (
            dsn(block(), block("5.2.2"), part_type="message/global-delivery-status"),
            [(HARD, "person@example.com"), (SOFT, "person@example.com")],
        ),
        # Comments (RFC 5322), and the recipient of a draft's opt-out report.
        (dsn(block("5.1.1 (bad mailbox)", action="Failed (user unknown)")), [(Kind.HARD_BOUNCE, "person@example.com")]),
        (
            arf("Original-Rcpt-To: <person@example.com>", kind="not-spam (by its user)"),
            [(Kind.OTHER, "person@example.com")],
        ),
        (arf("Removal-Recipient: person@example.com", kind="opt-out"), [(Kind.COMPLAINT, "person@example.com")]),
    ],
)
def test_a_report_names_what_happened_to_whom(report: bytes, expected: list[tuple[Kind, str]]) -> None:
    assert read(report) == expected
    assert read(report.replace(b"\r\n", b"\n")) == expected
    assert read(report[: report.index(b"Hello") + 2]) == expected  # cut off within the returned message


def test_a_bounce_has_its_time_and_a_complaint_that_of_its_receipt() -> None:
    [bounced] = events(dsn(block() + "\nLast-Attempt-Date: Mon, 21 Sep 2026 16:13:20 +0200"))
    assert bounced.occurred_at == 1_790_000_000_000_000
    [complained] = events(arf("Original-Rcpt-To: <person@example.com>\nArrival-Date: Mon, 21 Sep 2026 16:13:20 +0200"))
    assert complained.occurred_at is None
    assert events(dsn(block() + "\nLast-Attempt-Date: yesterday"))[0].occurred_at is None


def _of_parts(subtype: str, *parts: tuple[str, str]) -> str:
    written = [f"--{subtype}\nContent-Type: {head}\n\n{content}\n" for head, content in parts]
    return f'Content-Type: multipart/{subtype}; boundary="{subtype}"\n\n{"".join(written)}--{subtype}--\n'


def _encoded(kind: str, content: str, encoding: str) -> tuple[str, str]:
    encode = base64.encodebytes if encoding == "base64" else quopri.encodestring
    return f"{kind}\nContent-Transfer-Encoding: {encoding}", encode(content.encode()).decode()


FAILED = f"Reporting-MTA: dns; mx.example.net\n\n{block()}"
ABUSE = REPORT.format(extra="Original-Rcpt-To: <person@example.com>")


@each_of("encoding", ["base64", "quoted-printable"])
@each_of(
    "kind, content, expected",
    [
        ("message/delivery-status", FAILED, [(HARD, "person@example.com")]),
        ("message/global-delivery-status", FAILED.replace("person", "pérson"), [(HARD, "pérson@example.com")]),
        ("message/feedback-report", ABUSE, [(COMPLAINT, "person@example.com")]),
    ],
)
def test_a_report_is_read_in_its_transfer_encoding(
    kind: str, content: str, expected: list[tuple[Kind, str]], encoding: str
) -> None:  # R21
    assert read(_of_parts("report", _encoded(kind, content, encoding)).encode()) == expected
    returned = _encoded("message/rfc822", f"{OURS}\n\nHello", encoding)
    assert read(_of_parts("report", (kind, content), returned).encode()) == [(expected[0][0], LINKED)]


@each_of(
    "recipient, address",
    [
        ("rfc822; pérson@example.com", "pérson@example.com"),
        (r"utf-8; p\x{E9}rson@example.com", "pérson@example.com"),
        (r"utf-8; \x{43F}\x{43E}@example.com", "по@example.com"),
        ('RFC822; "A Person" <person@example.com>', "person@example.com"),
        ("rfc822; person@example.com (A Person)", "person@example.com"),
    ],
)
def test_a_recipient_is_read_as_it_may_be_written(recipient: str, address: str) -> None:  # RFC 6533
    report = FAILED.replace("rfc822; person@example.com", recipient)
    assert read(_of_parts("report", ("message/delivery-status", report)).encode()) == [(HARD, address)]


@each_of("written", ["pérson@example.com".encode("latin-1"), rb"p\x{D800}rson@example.com", b"redacted"])
def test_of_a_recipient_that_cannot_be_read_nothing_is_recorded(written: bytes) -> None:
    report = _of_parts("report", ("message/feedback-report", ABUSE)).encode()
    with pytest.raises(WebhookRefusedError):
        read(report.replace(b"person@example.com", written))


def test_a_report_names_several_in_one_field_or_begins_with_an_empty_line() -> None:
    report = ABUSE.replace("<person@example.com>", "<a@example.com>, <b@example.com>")
    expected = [(COMPLAINT, "a@example.com"), (COMPLAINT, "b@example.com")]
    assert read(_of_parts("report", ("message/feedback-report", f"\n{report}")).encode()) == expected


def test_a_report_within_a_mail_that_has_a_footer_is_read() -> None:
    report = _of_parts("report", ("message/feedback-report", ABUSE)).removeprefix("Content-Type: ")
    head, _, content = report.partition("\n\n")
    mail = _of_parts("mixed", (head, content), ("text/plain", "Scanned for viruses."))
    assert read(mail.encode()) == [(COMPLAINT, "person@example.com")]


@each_of(
    "status, answered, kind",
    [
        ("Status: 5.0.0", "550 5.1.1 user unknown", HARD),
        ("X: y", "550 5.1.1 user unknown", HARD),
        ("Status: 5.0.0", "552 5.2.2 mailbox full", SOFT),
        ("Status: 5.7.1", "550 5.1.1 user unknown", SOFT),
        ("Status: 5.0.0", "550 no", SOFT),
    ],
)
def test_what_the_other_server_answered_counts_where_the_status_is_general(
    status: str, answered: str, kind: Kind
) -> None:
    report = FAILED.replace("Status: 5.1.1", f"{status}\nDiagnostic-Code: smtp; {answered}")
    assert read(_of_parts("report", ("message/delivery-status", report)).encode()) == [(kind, "person@example.com")]


HEAVY = {
    "a parameter": 'multipart/mixed; a="' + '\\";' * 80_000,
    "many parts": "multipart/mixed; boundary=b\n\n" + "--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 3_000,
}
"""Content types that the parser of mails reads in minutes, or not at all."""


@each_of("name", HEAVY)
def test_a_content_type_in_an_encoded_block_is_not_parsed(name: str) -> None:
    content = f"{block()}\nContent-Type: {HEAVY[name]}"
    began = time.process_time()
    found = read(_of_parts("report", _encoded("message/delivery-status", content, "base64")).encode())
    assert found == [(HARD, "person@example.com")]
    assert time.process_time() - began < 2


def test_a_returned_header_alone_will_do() -> None:
    report = arf("", OURS).replace(b"message/rfc822", b"text/rfc822-headers")
    assert read(report) == [(COMPLAINT, LINKED)]


def nested(kind: str, count: int) -> bytes:
    lines = ["Content-Type: multipart/report; boundary=b0"]
    for n in range(count):
        lines += ["", f"--b{n}", f"Content-Type: {kind.format(n=n + 1)}"]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\0" * 1000,
        b"hello",
        b"Subject: STOP\n\nunsubscribe",
        arf(),
        arf("Original-Rcpt-To: <redacted>"),
        dsn(),
        dsn("Final-Recipient: rfc822; unknown\nAction: failed\nStatus: 5.1.1"),
        arf("Original-Rcpt-To: <person@example.com>", kind=""),
        mail("feedback-report", "text/plain", REPORT),
        arf("Original-Rcpt-To: <person@example.com>").replace(b"multipart/report", b"multipart/mixed"),
        arf("Original-Rcpt-To: <person@example.com>").replace(b'boundary="part"', b"boundary="),
        nested("multipart/mixed; boundary=b{n}", 5_000),
        nested("message/rfc822", 5_000),
        nested("multipart/digest; boundary*0=b{n}", 5_000),
        b"Content-Type: message/rfc822\n\n" * 30_000,
        b"Content-Type: multipart/report; " + b';a="' * 200_000 + b"\n\n",
        b"Content-Type: multipart/report; boundary=b\n" + b" x\n" * 300_000,
        b"Content-Type: multipart/report; boundary=b\n\n" + b"--b\n" * 200_000,
        nested("multipart/mixed; boundary=b{n}", 8) + b"\n" * 900_000,
        b"A: b\n" * 200_000,
        b"Content-Type: =?utf-8?q?multipart/report?=; boundary=\xff\xfe\n\n--\xff\xfe\n",
    ],
)
def test_what_is_no_report_is_refused_and_soon(hostile: bytes) -> None:
    began = time.process_time()
    with pytest.raises(WebhookRefusedError) as refused:
        read(hostile)
    assert refused.value.reason is RefusedWebhook.UNREADABLE
    assert refused.value.cure
    assert time.process_time() - began < 2.0


def test_a_long_message_that_is_returned_is_not_read_to_its_end() -> None:
    report = arf("Original-Rcpt-To: <person@example.com>")
    assert read(report.replace(b"Hello", b"word " * LONGEST)) == [(COMPLAINT, "person@example.com")]
    assert read(report.replace(b"Hello", b"word\n" * 300_000)) == [(COMPLAINT, "person@example.com")]


@given(st.lists(st.tuples(st.integers(0, 700), st.binary(max_size=6)), max_size=5))
def test_a_damaged_report_is_read_or_refused(changes: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(arf("Original-Rcpt-To: <person@example.com>", OURS))
    for at, new in changes:
        damaged[at : at + len(new)] = new
    with suppress(WebhookRefusedError):
        read(bytes(damaged))
