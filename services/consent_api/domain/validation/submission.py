"""One submission being read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TypeVar

from consent_api.domain.validation import evidence as evidence_rules
from consent_api.domain.validation import references, texts, times, validity
from consent_api.domain.validation.accepted import ValidDecision
from consent_api.domain.validation.clear_addresses import holds_at_sign, same_address, shows_address
from consent_api.domain.validation.evidence import EVIDENCE
from consent_api.domain.validation.rules import ValidationRules
from consent_api.domain.validation.times import ReadTime
from consent_api.errors import FieldViolation, InvalidValueError, SubmissionInvalidError
from consent_contracts.decisions import GIVEN, STATUSES
from consent_contracts.join import SKEW_MICROS
from consent_privacy.addresses import canonical
from consent_privacy.errors import InvalidAddressError

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

_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}")
_MOST_UNKNOWN = 20
"""Unknown fields that are listed: a body could have thousands."""

T = TypeVar("T")


def validate(
    fields: Mapping[str, object],
    *,
    tenant: str,
    rules: ValidationRules,
    now: int,
    bulk: bool = False,
    read_time: ReadTime = times.micros,
) -> ValidDecision:
    """The decision in ``fields``, received at ``now`` (microseconds), or SubmissionInvalidError with every fault.

    ``bulk`` is the mark that the request or the topic gives it. ``read_time`` reads the way in's own form of a time.

    A refusal needs its channel, its purpose, its status and a person: the subject or the address. What else cannot be
    read is dropped, and a refusal whose time cannot be right counts from now. A permission is refused for any fault.
    """
    return _Submission(fields, rules, read_time).accepted(tenant, now, bulk=bulk)


def readable_event(fields: Mapping[str, object], *, rules: ValidationRules) -> tuple[str | None, str | None]:
    """The event id and the source system of a submission that was refused, as far as they can be read: neither holds an
    address."""
    reading = _Submission(fields, rules, times.micros)
    channel = reading.read("channel", reading.channel, [])
    address = reading.address(channel, [])
    event_id = reading.opaque("event_id", reading.reference, () if address is None else (address,), [])
    return event_id, reading.evidence(address).get("source_system")


def event_reference(value: str, rules: ValidationRules) -> str:
    """An event id on its own, as in a URL. SubmissionInvalidError when none such could be recorded."""
    reading = _Submission({"event_id": value}, rules, times.micros)
    found = reading.opaque("event_id", reading.reference, (), reading.needed)
    if found is None:
        raise SubmissionInvalidError(reading.needed)
    return found


def subject_reference(value: str, rules: ValidationRules, *, addresses: Collection[str] = ()) -> str:
    """A subject's reference on its own, as in a URL. SubmissionInvalidError when it could not be recorded either:
    alone, or with ``addresses``, which are canonical."""
    reading = _Submission({"subject_ref": value}, rules, times.micros)
    found = reading.opaque("subject_ref", reading.subject, addresses, reading.needed)
    if found is None:
        raise SubmissionInvalidError(reading.needed)
    return found


def named_address(channel: str, value: str, rules: ValidationRules, *, within: str = "") -> str:
    """An address on its own, canonical. SubmissionInvalidError, with pointers that begin with ``within``."""
    reading = _Submission({"channel": channel, "address": value}, rules, times.micros)
    known = reading.read("channel", reading.channel, reading.needed)
    found = reading.address(known, reading.needed)
    if found is None:
        raise SubmissionInvalidError([replace(each, pointer=f"{within}{each.pointer}") for each in reading.needed])
    return found


def named_purpose(tenant: str, value: str, rules: ValidationRules) -> str:
    """A purpose that a refusal could name. SubmissionInvalidError."""
    reading = _Submission({"purpose": value}, rules, times.micros)
    found = reading.purpose(tenant, "withdrawn")
    if found is None:
        raise SubmissionInvalidError(reading.needed)
    return found


def dropped_field(fault: FieldViolation) -> str:
    """The field of a submission that a fault is about, as a label of few values."""
    name = fault.pointer.split("/", 2)[1] if fault.pointer else ""
    return name if name in FIELDS else "other"


class _Submission:
    """Reads field by field. ``needed`` gets the faults that refuse any decision, ``spare`` those of what a refusal can
    do without."""

    def __init__(self, fields: Mapping[str, object], rules: ValidationRules, read_time: ReadTime) -> None:
        self._fields = fields
        self._rules = rules
        self._read_time = read_time
        self.needed: list[FieldViolation] = []
        self.spare: list[FieldViolation] = []

    def accepted(self, tenant: str, now: int, *, bulk: bool) -> ValidDecision:
        self._report_unknown(self._fields, "", FIELDS)
        status = self.read("status", lambda value: texts.one_of(value, "status", STATUSES), self.needed)
        channel = self.read("channel", self.channel, self.needed)
        purpose = self.purpose(tenant, status)
        address, subject_ref = self._person(channel)
        event_id = self.opaque("event_id", self.reference, () if address is None else (address,), self.spare)
        if purpose is not None and same_address(purpose, address):
            self.needed.append(_not_the_address("purpose"))
        occurred_at = self._occurred_at(now)
        effective_at = now if occurred_at is None else min(occurred_at, now)
        stated_end = self._time("expires_at")
        proof = self.evidence(address)
        if status == GIVEN:
            self._require_proof(proof)
            if stated_end is not None:
                self.read("expires_at", lambda _: times.later_than(stated_end, effective_at), self.spare)
        faults = [*self.needed, *self.spare] if status is None or status == GIVEN else self.needed
        if faults:
            raise SubmissionInvalidError(faults)
        assert channel is not None
        assert status is not None
        assert purpose is not None
        expires_at = stated_end if status == GIVEN else None
        cut = None
        if expires_at is not None:
            cut = validity.cut(
                channel=channel,
                address=address,
                region=self._rules.default_region,
                collected_at=effective_at,
                expires_at=expires_at,
                now=now,
            )
        return ValidDecision(
            tenant=tenant,
            event_id=event_id,
            subject_ref=subject_ref,
            address=address,
            channel=channel,
            purpose=purpose,
            status=status,
            effective_at=effective_at,
            recorded_at=now,
            expires_at=cut.expires_at if cut is not None else expires_at,
            evidence=proof,
            bulk=bulk,
            dropped=tuple(self.spare),
            cut=cut,
        )

    def read(self, name: str, rule: Callable[[object], T | None], faults: list[FieldViolation]) -> T | None:
        """A field by its rule. None when it is absent or, with a fault, when it breaks the rule."""
        try:
            return rule(self._fields.get(name))
        except InvalidValueError as error:
            faults.append(FieldViolation(pointer=f"/{name}", code=error.code, cure=error.cure))
            return None

    def channel(self, value: object) -> str:
        return texts.one_of(value, "channel", self._rules.channels)

    def reference(self, value: object) -> str | None:
        """An opaque reference: kept in the clear, so it must not hold an address."""
        if value is None:
            return None
        found = references.reference(value, self._rules.refused_references)
        if shows_address(found, self._rules.default_region):
            raise _holds_an_address()
        return found

    def subject(self, value: object) -> str | None:
        found = self.reference(value)
        if found is not None and holds_at_sign(found):
            raise _holds_an_address()
        return found

    def address(self, channel: str | None, faults: list[FieldViolation]) -> str | None:
        value = self._fields.get("address")
        if value is None:
            return None
        if not isinstance(value, str):
            faults.append(FieldViolation(pointer="/address", code="not_text", cure="send a text"))
        elif channel is not None:
            try:
                return canonical(channel, value, default_region=self._rules.default_region)
            except InvalidAddressError as error:
                faults.append(FieldViolation(pointer="/address", code=error.reason, cure=error.cure))
        return None

    def _person(self, channel: str | None) -> tuple[str | None, str | None]:
        """The address and the subject. One of them is enough for a refusal, whatever is wrong with the other."""
        faults: list[FieldViolation] = []
        address = self.address(channel, faults)
        own = () if address is None else (address,)
        subject_ref = self.opaque("subject_ref", self.subject, own, faults)
        if address is not None or subject_ref is not None:
            self.spare += faults
        elif self._fields.get("subject_ref") is None and self._fields.get("address") is None:
            cure = "send subject_ref, address, or both: whose choice is it?"
            self.needed.append(FieldViolation(pointer="/subject_ref", code="missing", cure=cure))
        else:
            self.needed += faults
        return address, subject_ref

    def opaque(
        self, name: str, rule: Callable[[object], str | None], addresses: Collection[str], faults: list[FieldViolation]
    ) -> str | None:
        """A reference that holds none of ``addresses``, those it comes with, whatever surrounds them."""
        found = self.read(name, rule, faults)
        if found is None or not any(same_address(found, each) for each in addresses):
            return found
        faults.append(_not_the_address(name))
        return None

    def purpose(self, tenant: str, status: str | None) -> str | None:
        purposes = self._rules.purposes_of(tenant)
        return self.read("purpose", lambda value: purposes.read(value, status, self.spare), self.needed)

    def _time(self, name: str) -> int | None:
        try:
            return self._read_time(self._fields.get(name))
        except ValueError as error:
            self.spare.append(FieldViolation(pointer=f"/{name}", code="unreadable_time", cure=str(error)))
            return None

    def _occurred_at(self, now: int) -> int | None:
        found = self._time("occurred_at")
        if found is None:
            return None
        latest = now + SKEW_MICROS
        return self.read(
            "occurred_at",
            lambda _: times.plausible(found, oldest=self._rules.oldest_choice, latest=latest),
            self.spare,
        )

    def evidence(self, address: str | None) -> dict[str, str]:
        """What can be read of it, without addresses."""
        given = self._fields.get("evidence")
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            cure = f"send an object with {', '.join(EVIDENCE)}"
            self.spare.append(FieldViolation(pointer="/evidence", code="not_an_object", cure=cure))
            return {}
        self._report_unknown(given, "/evidence", EVIDENCE)
        kept: dict[str, str] = {}
        for name, text in evidence_rules.texts(given):
            pointer = f"/evidence/{name}"
            if isinstance(text, InvalidValueError):
                self.spare.append(FieldViolation(pointer=pointer, code=text.code, cure=text.cure))
            elif evidence_rules.holds_address(
                name, text, raw=self._fields.get("address"), address=address, region=self._rules.default_region
            ):
                cure = "send a reference instead of an address"
                self.spare.append(FieldViolation(pointer=pointer, code="an_address", cure=cure))
                kept[name] = evidence_rules.REMOVED
            else:
                kept[name] = text
        return kept

    def _require_proof(self, proof: Mapping[str, str]) -> None:
        """Everything that R7 requires of a grant; what is absent is named, all of it."""
        named = {fault.pointer for fault in self.spare}
        for name in ("occurred_at", "expires_at"):
            if self._fields.get(name) is None:
                cure = f"a permission needs {name}"
                self.needed.append(FieldViolation(pointer=f"/{name}", code="missing_evidence", cure=cure))
        for name in EVIDENCE:
            pointer = f"/evidence/{name}"
            if name not in proof and pointer not in named:
                cure = f"a permission needs {name.replace('_', ' ')}"
                self.needed.append(FieldViolation(pointer=pointer, code="missing_evidence", cure=cure))

    def _report_unknown(self, given: Mapping[str, object], within: str, known: Collection[str]) -> None:
        """A misspelt field is reported, not skipped: it may be the one that matters."""
        unknown = [name for name in given if name not in known]
        if not unknown:
            return
        pointers = dict.fromkeys(f"{within}/{name}" if _FIELD_NAME.fullmatch(name) else within for name in unknown)
        cure = f"send only {', '.join(sorted(known))}"
        for pointer in list(pointers)[:_MOST_UNKNOWN]:
            self.spare.append(FieldViolation(pointer=pointer, code="unknown_field", cure=cure))


def _holds_an_address() -> InvalidValueError:
    cure = "send an opaque reference: no e-mail address, no phone number"
    return InvalidValueError("an_address", f"{cure} (digits that are none: with a word, as in customer-1)")


def _not_the_address(name: str) -> FieldViolation:
    return FieldViolation(pointer=f"/{name}", code="an_address", cure="leave the address out: it is sent beside it")
