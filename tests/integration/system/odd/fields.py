"""References, times, evidence, ids and other fields, as systems send them. A twist is one oddity of a submission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.integration.system.odd.model import (
    DAY,
    HOUR,
    LONG_MAX,
    SECOND,
    Draft,
    Fields,
    Part,
    Twist,
    Way,
    written,
)
from tests.integration.system.odd.texts import ANY_TEXT, Spelling, wide
from tests.support.evidence import EVIDENCE

_NO_ONE = (
    *("undefined", "null", "None", "0", "anonymous", "00000000-0000-0000-0000-000000000000", "[object Object]", "N/A"),
    *("NULL", "nil", "NaN", "-1", "unknown", "guest", "n/a", "na", "-", "?", "000", "{{customer_id}}", "${id}", "%s"),
    *("customer-undefined", "crm:null", "(null)", "<null>", "'null'", "\u200bnull", "UNDEFINED ", "#N/A", "test"),
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "[object Undefined]", "customer_id", "none@none"),
)
_REFERENCES: list[Spelling] = [
    *ANY_TEXT,
    lambda text, _: text.upper(),
    lambda text, _: text.title(),
    lambda text, _: wide(text),
    lambda text, _: f"{text}.0",
    lambda text, _: f"0{text}",
    lambda text, _: f"{text}\r\n",
    lambda text, _: f"urn:{text}",
    lambda text, _: text.replace("-", "\u2011"),
    lambda text, _: text.replace("-", "_"),
    lambda text, _: text.replace(" ", "\u00a0"),
    lambda text, _: text.replace(" ", "  "),
    lambda text, _: text.replace(" ", ""),
    lambda text, _: text * 40,
    lambda text, _: text + "\u200b" * 900,
]


def _reference(spell: Spelling) -> Twist:
    return lambda draft: {"subject_ref": spell(draft.person.subject_ref, draft.rng)}


def address(spell: Spelling) -> Twist:
    return lambda draft: {"address": spell(draft.person.address, draft.rng)}


def _always(**fields: Any) -> Twist:
    return lambda _: fields


ADDRESSES_OF_NO_ONE = [
    _always(address=value)
    for value in (
        "",
        " ",
        "\u200b",
        "N/A",
        "null",
        "@",
        "0",
        "unknown",
        "none@none",
        33639980001,
        [],
        {},
        True,
        "x" * 5000,
    )
]
REFERENCES_OF_NO_ONE = [
    *(_always(subject_ref=value) for value in ("", " ", "\u200b", "\ufeff", "\x00", *_NO_ONE)),
    *(_always(subject_ref=value) for value in (0, 1001, 1.5, True, False, [], ["c-1"], {}, {"id": 1}, "x" * 201)),
    lambda draft: {"subject_ref": draft.person.address},
    lambda draft: {"subject_ref": f"crm-{draft.person.address}"},
]

# Times


def _at(spell: Callable[[int], object]) -> Twist:
    return lambda draft: {"occurred_at": spell(draft.at)}


def _form(pattern: str) -> Callable[[int], str]:
    return lambda at: datetime.fromtimestamp(at / SECOND, UTC).strftime(pattern)


_TEXT_TIMES: list[Callable[[int], object]] = [
    *(
        _form("%Y-%m-%dT%H:%M:%S" + end)
        for end in ("", "Z", "z", ".000Z", ",5Z", ".123456789Z", ".000+0000", "+00", "-00:00")
    ),
    *(
        _form("%Y-%m-%dT%H:%M:%S" + end)
        for end in (" UTC", " +0000", "GMT", "+00:00[Europe/Paris]", "[UTC]", "+25:00", "Z ")
    ),
    *(_form("%Y-%m-%dT%H:%M" + end) for end in ("", "Z", "+00:00", ":60Z", ":00.Z")),
    *map(
        _form, ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%SZ", "%d/%m/%Y", "%m/%d/%Y %H:%M", "%Y%m%dT%H%M%SZ")
    ),
    *map(
        _form, ("%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S UTC %Y", "%H:%M", "%Y-%jT%H:%M:%SZ", "%Y-W%W-%u", "%s")
    ),
    *(lambda at, hours=hours: written(at, hours) for hours in (-12, -5, -3.5, 1, 5.5, 5.75, 9, 14)),
    # A local time that is called UTC: in the west of it too old, in the east not yet.
    *(lambda at, hours=hours: written(at + int(hours * HOUR)) for hours in (-8, -5, -1, -0.001, 1, 2, 9, 24)),
    lambda at: written(at).replace("T", "T\u200b"),
    lambda at: f"\u00a0{written(at)}",
    lambda at: f"/Date({at // 1000})/",
    lambda at: written(at).replace("2", "\u0662"),
    lambda at: written(at).replace("-", "\u2011"),
    lambda at: written(at) + "; expired",
    lambda at: written(at) * 50,
]
_NUMBERS: list[Callable[[int], object]] = [
    *(lambda at, unit=unit: at // unit for unit in (1_000, 1_000_000, 60 * SECOND, DAY)),
    *(lambda at, unit=unit: at * unit for unit in (10, 1_000)),
    *(
        lambda at, value=value: value
        for value in (0, 1, -1, LONG_MAX, -LONG_MAX - 1, 2**31 - 1, 2**32, 253_402_300_800 * SECOND)
    ),
    *(lambda at, hours=hours: at + int(hours * HOUR) for hours in (-8, -1, -0.0003, 1, 24, 9_000)),
    lambda at: at // 1_000 * 1_000,
    lambda at: at // SECOND * SECOND,
    lambda at: at - 40 * 365 * DAY,
]
_NO_TIMES = (
    *("", " ", "never", "now", "null", "0001-01-01T00:00:00Z", "0000-00-00 00:00:00", "1970-01-01T00:00:00Z", "today"),
    *(
        "1899-12-30T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "10000-01-01T00:00:00Z",
        "2026-02-30T10:00:00Z",
        "24:00",
        "Infinity",
    ),
    *(
        "1999-12-31T23:59:59Z",
        "1753-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "\x00",
        "\ufffd",
    ),
    *(True, False, 1.5, 45987.4, 1e300, [], {}, [2026, 11, 26], {"seconds": 1}, "9" * 400),
)
TIMES: list[Twist] = [
    *map(_at, _TEXT_TIMES),
    *map(_at, _NUMBERS),
    *(_always(occurred_at=value) for value in _NO_TIMES),
    lambda draft: {"occurred_at": draft.moment(draft.at - draft.rng.randrange(1, 3 * HOUR))},
    lambda draft: {"occurred_at": draft.moment(draft.at + draft.rng.randrange(1, 3 * DAY))},
    _always(occurred_at=None),
]
ENDS: list[Twist] = [
    *(_always(expires_at=value) for value in _NO_TIMES),
    *(_always(expires_at=value) for value in (0, -1, 1, LONG_MAX, -LONG_MAX - 1, 2**31 - 1)),
    *(lambda draft, spell=spell: {"expires_at": spell(draft.at)} for spell in (*_TEXT_TIMES[::5], *_NUMBERS[:6])),
    lambda draft: {"expires_at": draft.moment(draft.at)},
    lambda draft: {"expires_at": draft.moment(draft.at - HOUR)},
    lambda draft: {"expires_at": draft.moment(draft.at + DAY)},
]

# Evidence, ids, and what else a body can have


def _evidence(**parts: Any) -> Twist:
    return lambda _: {"evidence": {**EVIDENCE, **parts}}


EVIDENCES: list[Twist] = [
    *(_always(evidence=value) for value in ({}, [], "", "by phone", 1, True, None, [EVIDENCE], "null", {"": ""})),
    *(
        _evidence(actor=value)
        for value in (1, 1.5, True, [], {}, "", " ", "a" * 2_000, "a" * 2_001, "\x00", "a\x07b", "a\nb")
    ),
    *(
        _evidence(actor=value)
        for value in ("\ud800", "\ufffd", "\u200b", "ann@example.com", "+33639980000", "a" * 100_000)
    ),
    *(_evidence(**{name: "x"}) for name in ("ip", "userAgent", "", "a/b", "\x00", "notice-id", "x" * 500)),
    *(_evidence(source_system=value) for value in (None, "", "crm", "x" * 2_000, "cr\u200bm", "a@b.example", 7)),
    lambda draft: {"evidence": {"actor": draft.person.address}},
    lambda draft: {"evidence": {"withdrawal_method": f"mail from {draft.person.address}"}},
    lambda draft: {"evidence": {"notice_id": draft.person.subject_ref}},
    _always(evidence={"source_system": "shop", "nested": {"a": {"b": [1, 2, 3]}}}),
]
EVENT_IDS: list[Twist] = [
    *(
        _always(event_id=value)
        for value in ("", " ", "\x00", "null", "undefined", "0", "\u200b", "x" * 201, "x" * 5_000)
    ),
    *(_always(event_id=value) for value in (0, 1001, 1.5, True, [], {}, "\ufffd", "\ud800", "ann@example.com")),
    lambda draft: {"event_id": draft.person.address},
    lambda draft: {"event_id": f"\u200bodd-{draft.person.number} "},
]


def _repeat(
    *, own: bool, occurred_at: Callable[[int], int | None], status: str = "withdrawn", source_system: str = "shop"
) -> Twist:
    """The event of an earlier withdrawal, of the person or of the one before, now at some moment."""

    def twist(draft: Draft) -> Fields:
        at = occurred_at(draft.at)
        return {
            "event_id": f"withdrawal-{draft.person.number - (not own)}",
            "status": status,
            "evidence": {"source_system": source_system},
            "occurred_at": None if at is None else draft.moment(at),
        }

    return twist


USED_EVENT_IDS: list[Twist] = [
    _always(event_id="1001"),
    *(_always(event_id="1001", evidence={"source_system": source}) for source in ("crm", "shop", "CRM", " crm", "")),
    lambda draft: {"event_id": f"grant-{draft.person.number}"},
    lambda draft: {"event_id": f"grant-{draft.person.number} ", "evidence": EVIDENCE},
    lambda draft: {"event_id": f"grant-{draft.person.number}", "evidence": {"source_system": "crm"}},
    *(_repeat(own=True, occurred_at=spell) for spell in (lambda _: None, lambda at: at, lambda at: at - DAY)),
    _repeat(own=False, occurred_at=lambda at: at),
    _repeat(own=True, status="objected", occurred_at=lambda _: None),
    _repeat(own=True, source_system="crm", occurred_at=lambda _: None),
]
OTHERS: list[Twist] = [
    *(_always(**{name: "x"}) for name in ("phone", "optIn", "Status", "", "a/b", "status ", "tenant_id", "x" * 500)),
    _always(consent=True),
    _always(status_reason=None, version=2),
    *(lambda draft, n=n: {f"field{i}": i for i in range(n)} for n in (1, 40)),
]
NEEDED: list[Twist] = [
    *(
        _always(status=value)
        for value in (
            *(
                "Withdrawn",
                "WITHDRAWN",
                "withdrawn ",
                "withdraw",
                "opt_out",
                "unsubscribed",
                "STOP",
                "no",
                "",
                "given?",
            ),
            *(
                "Given",
                "GIVEN",
                "given ",
                "granted",
                "true",
                "\u200bgiven",
                "wi\u200bthdrawn",
                None,
                False,
                0,
                [],
                "\x00",
            ),
        )
    ),
    *(
        _always(channel=value)
        for value in ("SMS", "sms ", "Email", "e-mail", "mail", "phone", "*", "", None, 1, "s\u200bms")
    ),
    lambda draft: {"channel": {"sms": "voice", "voice": "sms"}.get(draft.person.channel, "emai")},
    *(
        _always(purpose=value)
        for value in ("newsleter", "Promotions", "promotions ", "promo", "all", "ALL", "", " *", "**")
    ),
    *(
        _always(purpose=value)
        for value in (None, 1, [], ["promotions"], "promotions,survey", "\uff0a", "promotions\u200b", "x" * 65)
    ),
    *(_always(tenant=value) for value in ("ACME", "acme ", "", "globex", None)),
    _always(purpose="*"),
]

BODIES: list[tuple[Way, Callable[[bytes], bytes]]] = [
    (Way.HTTP, lambda body: b"\xef\xbb\xbf" + body),
    (Way.HTTP, lambda body: body.decode().encode("utf-16")),
    (Way.HTTP, lambda body: body.replace(b'"status"', b'"status": "given", "status"')),
    (Way.HTTP, lambda body: body + b"x"),
    (Way.HTTP, lambda body: body[:-1] + b",}"),
    (Way.HTTP, lambda body: body[:-1] + b', "n": NaN}'),
    (Way.HTTP, lambda body: body[:-1] + b', "n": 1e999}'),
    (Way.HTTP, lambda body: body[:-1] + b', "n": ' + b"9" * 500 + b"}"),
    (Way.HTTP, lambda body: body[:-1] + b', "n": "\xe9"}'),
    (Way.HTTP, lambda body: b"[" + body + b"]"),
    (Way.HTTP, lambda body: body.replace(b'"withdrawn"', b'"\\u0077ithdrawn"')),
    (Way.HTTP, lambda body: b" \r\n\t" + body + b"\n"),
    (Way.KAFKA, lambda value: value[:-1]),
    (Way.KAFKA, lambda value: value[:7]),
    (Way.KAFKA, lambda value: value + b"\x00"),
    (Way.KAFKA, lambda value: b""),
    (Way.KAFKA, lambda value: b'{"status": "withdrawn"}'),
    (Way.KAFKA, lambda value: b"\x01" + value[1:]),
    (Way.KAFKA, lambda value: value[:1] + b"\x00\xff\xff\xff" + value[5:]),
    (Way.KAFKA, lambda value: value[:5] + b"\xff" * 12 + value[5:]),
]

REFERENCE = Part(name="reference", twists=[*map(_reference, _REFERENCES), *REFERENCES_OF_NO_ONE], needed=True)
USED = Part(name="used event id", twists=USED_EVENT_IDS, needed=True)
ADDRESS = Part(name="address", twists=(), needed=True)
PARTS: Sequence[Part] = [
    REFERENCE,
    Part(name="address of no one", twists=ADDRESSES_OF_NO_ONE, needed=True),
    Part(name="time", twists=TIMES),
    Part(name="end", twists=ENDS),
    Part(name="evidence", twists=EVIDENCES),
    Part(name="event id", twists=EVENT_IDS),
    USED,
    Part(name="other field", twists=OTHERS),
    Part(name="needed field", twists=NEEDED, needed=True),
]
