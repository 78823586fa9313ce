"""What is recorded of a withdrawal that a person spoke in a call (R52). Pure.

Nothing is needed but the number. Whatever else cannot be read is left out and listed: an agent who mistypes a call id
must not leave a person with calls.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from consent_api.domain.validation import ValidationRules, holds_address, named_address
from consent_api.errors import FieldViolation, NumberWithheldError, SubmissionInvalidError
from consent_contracts.decisions import EVERY_PURPOSE

CHANNEL = "voice"
METHOD, SOURCE_SYSTEM = "spoken", "call"
"""The capture_method and the source_system of the evidence."""
FIELDS = ("number", "everything", "call_id", "agent", "occurred_at")
_LONGEST_NAME = 200
_LONGEST_WRITTEN = 500
_WITHHELD = frozenset(
    {
        *("", "anonymous", "anonymouscaller", "private", "privatenumber", "privatecaller", "withheld"),
        *("numberwithheld", "restricted", "blocked", "unknown", "unknowncaller", "unavailable", "nocallerid", "hidden"),
        *("hiddennumber", "noname", "anonyme", "appelanonyme", "masque", "numeromasque", "prive", "numeroprive"),
        *("appelprive", "cache", "numerocache", "inconnu", "numeroinconnu", "secret", "indisponible"),
        *("266696687", "7378742833", "2562533", "8656696", "86282452253"),
    }
)
"""What telephone systems show in place of a number that is withheld: its letters alone, without accents. The numbers
are ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN and UNAVAILABLE on a keypad."""
_URI = re.compile(r"(?<![a-z])(?:sips?|tel):(?P<user>[^@;<>]{0,200})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """``number``: canonical. ``everything``: on every channel, and not by telephone alone. ``actor``: who recorded it,
    in which call. ``dropped``: what it is recorded without."""

    number: str = field(repr=False)
    everything: bool
    actor: str
    occurred_at: object = None
    dropped: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The decisions to submit, and the channels on which nothing can be recorded, with the reason."""

    decisions: tuple[Mapping[str, object], ...] = field(repr=False)
    left: Mapping[str, str]


def read(body: Mapping[str, object], rules: ValidationRules) -> Spoken:
    """NumberWithheldError, or SubmissionInvalidError where the number cannot be read."""
    raw = body.get("number")
    if not isinstance(raw, str):
        code, cure = ("missing", "send the number") if raw is None else ("not_text", "send the number as a text")
        raise SubmissionInvalidError([FieldViolation(pointer="/number", code=code, cure=cure)])
    written = _user(raw)
    if _letters(written) in _WITHHELD:
        raise NumberWithheldError
    try:
        number = named_address(CHANNEL, written, rules)
    except SubmissionInvalidError as error:
        raise SubmissionInvalidError([_at_number(each) for each in error.faults]) from None
    dropped: list[FieldViolation] = []
    agent = _name("agent", body.get("agent"), raw, number, rules, dropped)
    call_id = _name("call_id", body.get("call_id"), raw, number, rules, dropped)
    everything = body.get("everything")
    if not (everything is None or isinstance(everything, bool)):
        # A refusal is taken in the wider sense.
        dropped.append(FieldViolation(pointer="/everything", code="not_boolean", cure="send true or false"))
    if set(body) - set(FIELDS):
        cure = f"send only {', '.join(FIELDS)}"
        dropped.append(FieldViolation(pointer="", code="unknown_field", cure=cure))
    return Spoken(
        number=number,
        everything=everything not in (None, False),
        actor=f"{agent or 'agent'}, call {call_id}" if call_id else agent or "agent",
        occurred_at=body.get("occurred_at"),
        dropped=tuple(dropped),
    )


def plan(spoken: Spoken, persons: Sequence[str], rules: ValidationRules) -> Plan:
    """``persons``: the references of those whom the number is linked to.

    The number itself is withdrawn, no matter who has it. What reaches beyond it is recorded of the person it belongs
    to: where several share it, it is not known which of them has spoken.
    """
    found: list[dict[str, object]] = []
    left: dict[str, str] = {}
    for channel in rules.channels if spoken.everything else (CHANNEL,):
        if is_address(channel, spoken.number, rules):
            found.append(_withdrawal(spoken, channel, address=spoken.number))
        elif len(persons) != 1:
            left[channel] = "shared_number" if persons else "unknown_person"
        if spoken.everything and len(persons) == 1:
            found.append(_withdrawal(spoken, channel, subject_ref=persons[0]))
    return Plan(decisions=tuple(found), left=left)


def _withdrawal(spoken: Spoken, channel: str, **whose: str) -> dict[str, object]:
    return {
        **whose,
        "channel": channel,
        "purpose": EVERY_PURPOSE,
        "status": "withdrawn",
        "occurred_at": spoken.occurred_at,
        "evidence": {"capture_method": METHOD, "source_system": SOURCE_SYSTEM, "actor": spoken.actor},
    }


def is_address(channel: str, number: str, rules: ValidationRules) -> bool:
    """Whether the number, which is canonical, is an address on the channel."""
    try:
        named_address(channel, number, rules)
    except SubmissionInvalidError:
        return False
    return True


def _name(
    name: str, value: object, raw: object, number: str, rules: ValidationRules, dropped: list[FieldViolation]
) -> str | None:
    """An agent or a call, which is kept in the clear and so must hold no address."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        dropped.append(FieldViolation(pointer=f"/{name}", code="not_text", cure="send a text"))
        return None
    text = " ".join(str(value).split())
    if len(text) > _LONGEST_NAME or not text.isprintable():
        cure = f"send at most {_LONGEST_NAME} printable characters"
        dropped.append(FieldViolation(pointer=f"/{name}", code="unreadable", cure=cure))
        return None
    if holds_address(name, text, raw=raw, address=number, region=rules.default_region):
        cure = "send a reference instead of an address"
        dropped.append(FieldViolation(pointer=f"/{name}", code="an_address", cure=cure))
        return None
    return text or None


def _at_number(fault: FieldViolation) -> FieldViolation:
    return FieldViolation(pointer="/number", code=fault.code, cure=fault.cure)


def _user(raw: str) -> str:
    """The user part of a SIP address (RFC 3261) or the number of a tel one (RFC 3966) without its parameters, which
    switches give as the caller's number; another text as it is."""
    found = _URI.search(raw[:_LONGEST_WRITTEN])
    return unquote(found["user"]) if found is not None else raw


def _letters(written: str) -> str:
    """Letters and digits, in lower case and without accents."""
    bare = unicodedata.normalize("NFKD", written[:_LONGEST_WRITTEN]).casefold()
    return "".join(filter(str.isalnum, bare))
