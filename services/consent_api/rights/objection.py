"""What an objection records: a refusal of everything, on each channel (GDPR, article 21(2)). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from consent_api.domain.validation import ValidationRules, ValidDecision, validate
from consent_api.rights.person_ref import PersonRef
from consent_contracts.decisions import EVERY_PURPOSE

SENDER = "rights"
METHOD = "rights-request"
_EVIDENCE = {"source_system": "consent-relay", "capture_method": METHOD, "actor": "data-subject"}


def decisions(person: PersonRef, rules: ValidationRules, *, now: int) -> list[ValidDecision]:
    """On every channel of a subject; of an address alone, wherever it reaches the person. SubmissionInvalidError."""
    return [
        replace(validate(fields, tenant=person.tenant, rules=rules, now=now), sender=SENDER)
        for fields in _fields(person, rules)
    ]


def _fields(person: PersonRef, rules: ValidationRules) -> Iterator[dict[str, object]]:
    common = {"purpose": EVERY_PURPOSE, "status": "objected", "evidence": _EVIDENCE}
    reached = {channel for _, channel, _ in person.places}
    # The channel of an address alone is never left out: one that is no more is a fault, not an objection to nothing.
    own = () if person.subject_ref is not None or person.channel is None else (person.channel,)
    for channel in dict.fromkeys((*rules.channels, *own)):
        whose: dict[str, object] = {"address": person.address} if channel in reached else {}
        if person.subject_ref is not None:
            whose["subject_ref"] = person.subject_ref
        if whose:
            yield {**common, **whose, "channel": channel}
