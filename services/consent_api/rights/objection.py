"""What an objection records: a refusal of everything, on each channel (GDPR, article 21(2)). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from consent_api.domain.validation import ValidationRules, ValidDecision, validate
from consent_api.rights.person_ref import PersonRef
from consent_contracts.decisions import EVERY_PURPOSE

SENDER = "rights"
_EVIDENCE = {"source_system": "consent-relay", "capture_method": "rights-request", "actor": "data-subject"}


def decisions(person: PersonRef, rules: ValidationRules, *, now: int) -> list[ValidDecision]:
    """On every channel of a subject; on the channel of an address alone. SubmissionInvalidError."""
    return [
        replace(validate(fields, tenant=person.tenant, rules=rules, now=now), sender=SENDER)
        for fields in _fields(person, rules)
    ]


def _fields(person: PersonRef, rules: ValidationRules) -> Iterator[dict[str, object]]:
    common = {"purpose": EVERY_PURPOSE, "status": "objected", "evidence": _EVIDENCE}
    if person.subject_ref is None:
        yield {**common, "channel": person.channel, "address": person.address}
        return
    for channel in rules.channels:
        address = {"address": person.address} if channel == person.channel else {}
        yield {**common, **address, "channel": channel, "subject_ref": person.subject_ref}
