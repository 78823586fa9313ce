"""From what somebody submitted to a decision that can be recorded, or to all that is wrong with it. Pure.

One rule book for both ways in: HTTP hands over JSON objects, Kafka hands over Avro data; both use the same names.
A fault never repeats a value, since any value could be an address.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, STATUSES
from consent_contracts.join import SKEW_MICROS
from consent_contracts.records import PURPOSE
from consent_runtime import phones
from consent_runtime.addresses import InvalidAddress, canonical

from .errors import FieldError, SubmissionInvalidError

EVIDENCE = (
    "controller",
    "notice_id",
    "notice_version",
    "notice_hash",
    "notice_language",
    "capture_method",
    "source_system",
    "actor",
    "withdrawal_method",
)
"""What a grant has to prove (R7), beside its purpose, channel, time and expiry."""

FIELDS = frozenset(
    {
        "event_id",
        "channel",
        "purpose",
        "status",
        "subject_ref",
        "address",
        "occurred_at",
        "expires_at",
        "evidence",
    }
)
"""The fields of a submission, named as in ConsentSubmitted. Its tenant is the caller's business: it is authorised."""

LONGEST_REFERENCE = 200
LONGEST_EVIDENCE = 2_000
_LAST_MOMENT = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z, the last that RFC 3339 can write
_REMOVED = "(removed: held an address)"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EMAIL = re.compile(r"[^\s@<>:;,]+@[^\s@<>:;,]+\.[^\s@<>:;,]+")
_DIALLED = re.compile(r"_*(?:\d[_-]*){8,15}", re.ASCII)
_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}")

ReadTime = Callable[[object], int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A decision that keeps every rule and can be recorded. ``address`` is canonical, and never printed.

    ``bulk`` is the decision's mark: it comes from an import or another bulk source.
    """

    tenant: str
    event_id: str | None
    subject_ref: str | None
    address: str | None = field(repr=False)
    channel: str
    purpose: str
    status: str
    effective_at: int
    recorded_at: int
    expires_at: int | None
    evidence: Mapping[str, str] = field(repr=False)
    bulk: bool = False

    @property
    def source_system(self) -> str | None:
        return self.evidence.get("source_system")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the installation knows: its channels, and the region in which national numbers are read."""

    channels: Collection[str]
    default_region: str


def validate(
    fields: Mapping[str, object],
    *,
    tenant: str,
    rules: Rules,
    now: int,
    bulk: bool = False,
    read_time: ReadTime | None = None,
) -> Accepted:
    """The decision in ``fields``, received at ``now`` (microseconds), or SubmissionInvalidError with every fault.

    ``bulk`` is the mark that the request or the topic gives it.

    ``read_time`` turns the way in's own form of a time into microseconds (ValueError with the cure when it cannot);
    without it times are microseconds already. A refusal in the future counts from now; a permission in the future
    is refused. A refusal never needs evidence.
    """
    return _Reading(fields, rules, read_time or micros).accepted(tenant, now, bulk=bulk)


def micros(value: object) -> int | None:
    """A time as Avro carries it."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LAST_MOMENT:
        raise ValueError("send microseconds since 1970-01-01T00:00:00Z")
    return value


def rfc3339(value: object) -> int | None:
    """A time as JSON carries it. More than six decimals are cut off."""
    if value is None:
        return None
    cure = "send a time with its offset as in RFC 3339, such as 2026-03-01T09:30:00Z"
    parts = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError(cure)
    day, clock, fraction, offset = parts.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset in 'Zz' else offset}")
        found = (moment - _EPOCH) // _MICROSECOND + int((fraction or "")[:6].ljust(6, "0"))
    except (ValueError, OverflowError):
        raise ValueError(cure) from None
    if not 0 <= found <= _LAST_MOMENT:
        raise ValueError("send a time between 1970 and 9999")
    return found


def subject_reference(value: str, rules: Rules) -> str:
    """A subject's reference on its own, as in a URL. SubmissionInvalidError when it could not be recorded either."""
    reading = _Reading({"subject_ref": value}, rules, micros)
    return reading.subject()


def named_address(channel: str, value: str, rules: Rules, *, within: str = "") -> str:
    """An address on its own, canonical. SubmissionInvalidError, with pointers that begin with ``within``."""
    reading = _Reading({"channel": channel, "address": value}, rules, micros)
    return reading.named_address(within)


class _Reading:
    """One submission being read; collects faults as it goes."""

    def __init__(self, fields: Mapping[str, object], rules: Rules, read_time: ReadTime) -> None:
        self._fields = fields
        self._rules = rules
        self._read_time = read_time
        self._faults: list[FieldError] = []

    def accepted(self, tenant: str, now: int, *, bulk: bool) -> Accepted:
        self._only(self._fields, "", FIELDS)
        channel = self._channel()
        status = self._status()
        purpose = self._purpose(status)
        event_id = self._reference("event_id")
        subject_ref = self._reference("subject_ref")
        address = self._address(channel)
        self._not_the_address(address, purpose=purpose, event_id=event_id, subject_ref=subject_ref)
        if self._fields.get("subject_ref") is None and self._fields.get("address") is None:
            self._fault("/subject_ref", "missing", "send subject_ref, address, or both: whose choice is it?")
        occurred_at = self._time("occurred_at")
        expires_at = self._time("expires_at")
        evidence = self._evidence()
        effective_at = now if occurred_at is None else min(occurred_at, now)
        if status == GIVEN:
            self._permission(evidence, now)
            if occurred_at is not None and occurred_at > now + SKEW_MICROS:
                self._fault("/occurred_at", "in_the_future", "send when the person gave consent: that has been")
            if expires_at is not None and expires_at <= effective_at:
                self._fault("/expires_at", "before_it_began", "send an expiry later than occurred_at")
        kept = self._without_addresses(evidence, address, status)
        if self._faults:
            raise SubmissionInvalidError(self._faults)
        assert channel is not None
        assert status is not None
        assert purpose is not None
        return Accepted(
            tenant=tenant,
            event_id=event_id,
            subject_ref=subject_ref,
            address=address,
            channel=channel,
            purpose=purpose,
            status=status,
            effective_at=effective_at,
            recorded_at=now,
            expires_at=expires_at if status == GIVEN else None,
            evidence=kept,
            bulk=bulk,
        )

    def subject(self) -> str:
        found = self._reference("subject_ref")
        if found is None:
            raise SubmissionInvalidError(self._faults)
        return found

    def named_address(self, within: str) -> str:
        found = self._address(self._channel())
        if found is None:
            raise SubmissionInvalidError([replace(fault, pointer=f"{within}{fault.pointer}") for fault in self._faults])
        return found

    def _fault(self, pointer: str, code: str, cure: str) -> None:
        self._faults.append(FieldError(pointer=pointer, code=code, cure=cure))

    def _only(self, given: Mapping[str, object], within: str, known: frozenset[str]) -> None:
        """A misspelt field is reported, not skipped: it may be the one that matters."""
        for name in given:
            if name not in known:
                pointer = f"{within}/{name}" if _FIELD_NAME.fullmatch(name) else within
                self._fault(pointer, "unknown_field", f"send only {', '.join(sorted(known))}")

    def _text(self, name: str, *, longest: int, within: Mapping[str, object] | None = None) -> str | None:
        """A text without control characters, or None when it is absent or, after saying so, wrong."""
        pointer = f"/{name}" if within is None else f"/evidence/{name}"
        value = (self._fields if within is None else within).get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._fault(pointer, "not_text", "send a text")
        elif len(value) > longest:
            self._fault(pointer, "too_long", f"send at most {longest} characters")
        elif not value.isprintable() and _unwritable(value, lines=within is not None):
            self._fault(pointer, "control_characters", "send a text without NUL or other control characters")
        else:
            return value
        return None

    def _required(self, name: str) -> str | None:
        if self._fields.get(name) is None:
            self._fault(f"/{name}", "missing", f"send {name}")
            return None
        return self._text(name, longest=LONGEST_REFERENCE)

    def _channel(self) -> str | None:
        channel = self._required("channel")
        if channel is None or channel in self._rules.channels:
            return channel
        self._fault("/channel", "unknown_channel", f"send one of {', '.join(sorted(self._rules.channels))}")
        return None

    def _status(self) -> str | None:
        status = self._required("status")
        if status is None or status in STATUSES:
            return status
        self._fault("/status", "unknown_status", f"send one of {', '.join(sorted(STATUSES))}")
        return None

    def _purpose(self, status: str | None) -> str | None:
        purpose = self._required("purpose")
        if purpose == EVERY_PURPOSE:
            if status == GIVEN:
                self._fault("/purpose", "not_specific", "name the purpose: consent is specific, * is for refusals")
        elif purpose is not None and not PURPOSE.fullmatch(purpose):
            self._fault("/purpose", "no_slug", "send a slug of a-z, 0-9, _ and -, at most 64 characters, or *")
        elif purpose is not None and _DIALLED.fullmatch(purpose):
            self._fault(
                "/purpose", "an_address", "name the purpose: this could be a phone number, and purposes are kept"
            )
            return None
        return purpose

    def _reference(self, name: str) -> str | None:
        """An opaque reference: kept in the clear, so it must not hold an address."""
        value = self._text(name, longest=LONGEST_REFERENCE)
        if value is None:
            return None
        if not value.strip():
            self._fault(f"/{name}", "empty", f"send {name}, or leave it out")
        elif (name == "subject_ref" and "@" in value) or self._shows_address(value):
            cure = "send an opaque reference: no e-mail address, no phone number"
            self._fault(f"/{name}", "an_address", f"{cure} (digits that are none: with a word, as in customer-1)")
        else:
            return value
        return None

    def _not_the_address(self, address: str | None, **kept: str | None) -> None:
        """What is kept in the clear does not hold the address of its own submission, whatever surrounds it."""
        for name, value in kept.items():
            if value is not None and _same_number(value, address):
                self._fault(f"/{name}", "an_address", "leave the phone number out: it is in address")

    def _shows_address(self, value: str) -> bool:
        return bool(_EMAIL.search(value)) or phones.stands_in(value, self._rules.default_region)

    def _address(self, channel: str | None) -> str | None:
        value = self._fields.get("address")
        if value is None:
            return None
        if not isinstance(value, str):
            self._fault("/address", "not_text", "send a text")
        elif channel is not None:
            try:
                return canonical(channel, value, default_region=self._rules.default_region)
            except InvalidAddress as error:
                self._fault("/address", error.reason, error.cure)
        return None

    def _time(self, name: str) -> int | None:
        try:
            return self._read_time(self._fields.get(name))
        except ValueError as error:
            self._fault(f"/{name}", "unreadable_time", str(error))
            return None

    def _evidence(self) -> dict[str, str]:
        given = self._fields.get("evidence")
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            self._fault("/evidence", "not_an_object", f"send an object with {', '.join(EVIDENCE)}")
            return {}
        self._only(given, "/evidence", frozenset(EVIDENCE))
        texts = {name: self._text(name, longest=LONGEST_EVIDENCE, within=given) for name in EVIDENCE}
        return {name: text.strip() for name, text in texts.items() if text is not None and text.strip()}

    def _permission(self, evidence: Mapping[str, str], now: int) -> None:
        """Everything that R7 requires of a grant; what is absent is named, all of it."""
        named = {fault.pointer for fault in self._faults}
        for name in ("occurred_at", "expires_at"):
            if self._fields.get(name) is None:
                self._fault(f"/{name}", "missing_evidence", f"a permission needs {name}")
        for name in EVIDENCE:
            if name not in evidence and f"/evidence/{name}" not in named:
                self._fault(f"/evidence/{name}", "missing_evidence", f"a permission needs {name.replace('_', ' ')}")

    def _without_addresses(
        self, evidence: Mapping[str, str], address: str | None, status: str | None
    ) -> Mapping[str, str]:
        """Evidence is kept in the clear, so no address may be in it.

        A permission is sent back; of a refusal, which must not fail for its evidence, the text is removed.
        """
        kept = dict(evidence)
        raw = self._fields.get("address")
        for name, value in evidence.items():
            if not self._holds_address(name, value, raw if isinstance(raw, str) else None, address):
                continue
            kept[name] = _REMOVED
            if status == GIVEN:
                self._fault(f"/evidence/{name}", "an_address", "send a reference instead of an address")
        return kept

    def _holds_address(self, name: str, value: str, raw: str | None, address: str | None) -> bool:
        if raw and raw.strip() in value:
            return True
        if address is not None and (address in value.lower() or _same_number(value, address)):
            return True
        # These name whom the person writes to, so they may well hold the controller's own addresses.
        return name not in ("controller", "withdrawal_method") and self._shows_address(value)


def _unwritable(value: str, *, lines: bool) -> bool:
    """Control characters and halves of surrogates; what an agent typed as evidence may have several ``lines``."""
    kept = "\t\n\r" if lines else ""
    return any(unicodedata.category(character) in ("Cc", "Cs") and character not in kept for character in value)


def _same_number(value: str, address: str | None) -> bool:
    """Whether the digits of `value` hold the national part of `address`, a canonical phone number."""
    return address is not None and address.startswith("+") and address[-9:] in phones.digits(value)
