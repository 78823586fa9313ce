"""Who chooses, what they have chosen before, and how a choice is sent."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from random import Random
from typing import Any

from tests.support.evidence import EVIDENCE

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
LONG_MAX = 2**63 - 1
PURPOSES = ("promotions", "newsletter", "survey")
REFUSALS = ("withdrawn", "refused", "objected", "expired", "invalidated")

Fields = dict[str, Any]


class Way(Enum):
    """How a submission comes."""

    HTTP = "HTTP"
    BATCH = "batch"
    KAFKA = "Kafka"


class Names(Enum):
    """By what a submission names its person."""

    BOTH = "both"
    ADDRESS = "address"
    REFERENCE = "reference"


class History(Enum):
    """What a person has chosen before, all of it spelt plainly."""

    NOTHING = "nothing"
    PERMITTED = "permitted"
    WITHDRAWN = "permitted, withdrawn"
    LIFTED = "permitted, withdrawn, permitted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """``address`` is the plain form."""

    number: int
    channel: str
    address: str
    subject_ref: str
    purpose: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a twist is given: whose choice, by which way, when it was made (micros)."""

    person: Person
    way: Way
    at: int
    rng: Random

    def moment(self, micros: int) -> object:
        """As the way in carries it."""
        return micros if self.way is Way.KAFKA else written(micros)


Twist = Callable[[Draft], Fields]
"""The fields that are spelt oddly; a field that is None is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of the grammar. ``needed``: a withdrawal may be refused for it; else it must be recorded."""

    name: str
    twists: Sequence[Twist]
    needed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """``address``: the odd spelling, where the address has one. ``needless``: nothing in it may refuse a withdrawal.
    ``raw``: the bytes of its body or record, made from the plain ones."""

    person: Person
    history: History
    way: Way
    fields: Fields
    parts: tuple[str, ...]
    needless: bool
    raw: Callable[[bytes], bytes] | None = None

    @property
    def is_withdrawal(self) -> bool:
        return self.history in (History.PERMITTED, History.LIFTED)

    @property
    def address(self) -> str:
        odd = self.fields.get("address")
        return odd if isinstance(odd, str) and is_text(odd) else self.person.address

    def __str__(self) -> str:
        person = f"{self.person.channel} {self.person.address!a} {self.person.subject_ref!a}"
        choice = "a withdrawal" if self.is_withdrawal else "a grant"
        return (
            f"{choice} by {self.way.value} ({', '.join(self.parts)}) of {person}, who had {self.history.value}"
            f" {self.person.purpose}: {self.fields!a}{' (its bytes changed)' if self.raw else ''}"
        )


def written(micros: int, offset_hours: float = 0) -> str:
    """RFC 3339."""
    zone = timezone(timedelta(hours=offset_hours))
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).astimezone(zone).isoformat()


def is_text(value: str) -> bool:
    """Whether it can be encoded."""
    return not any(unicodedata.category(character) == "Cs" for character in value)


def fits_avro(fields: Fields) -> bool:
    """Whether a producer's library takes it for a ConsentSubmitted."""

    def text(value: object) -> bool:
        return value is None or (isinstance(value, str) and is_text(value))

    def long(value: object) -> bool:
        return value is None or (type(value) is int and -(2**63) <= value < 2**63)

    evidence = fields.get("evidence")
    return (
        all(long(fields.get(name)) for name in ("occurred_at", "expires_at"))
        and all(text(value) for name, value in fields.items() if name not in ("occurred_at", "expires_at", "evidence"))
        and all(isinstance(fields.get(name), str) for name in ("event_id", "channel", "purpose", "status"))
        and fields.keys() <= AVRO_FIELDS
        and (
            evidence is None
            or (isinstance(evidence, dict) and evidence.keys() <= EVIDENCE.keys() and all(map(text, evidence.values())))
        )
    )


AVRO_FIELDS = frozenset(
    (
        *("event_id", "tenant", "channel", "purpose", "status", "subject_ref", "address", "occurred_at", "expires_at"),
        "evidence",
    )
)


def plain(draft: Draft, status: str) -> Fields:
    """A choice as it should be sent."""
    fields: Fields = {
        "channel": draft.person.channel,
        "purpose": draft.person.purpose,
        "status": status,
        "subject_ref": draft.person.subject_ref,
        "address": draft.person.address,
        "occurred_at": draft.moment(draft.at),
        "event_id": f"odd-{draft.person.number}",
    }
    if status == "given":
        fields |= {"expires_at": draft.moment(draft.at + 300 * DAY), "evidence": dict(EVIDENCE)}
    return fields


def body_of(fields: Fields) -> bytes:
    """As JSON, with every character that is not ASCII escaped: also one that cannot be encoded."""
    return json.dumps(fields).encode()
