"""From a submission to a decision that can be recorded, or to all that is wrong with it. Pure.

One rule book for both ways in: HTTP hands over JSON objects, Kafka hands over Avro data; both use the same names.
A grant is strict: one part that cannot be read refuses it. A refusal needs a channel, a purpose, a status and a
person; whatever else cannot be read is dropped and listed, and the refusal is recorded.
A fault never repeats a value, since any value could be an address.
"""

from consent_api.domain.validation.accepted import BY_LINK, Event, ValidDecision, event_source
from consent_api.domain.validation.evidence import EVIDENCE, LONGEST_EVIDENCE, holds_address
from consent_api.domain.validation.purposes import Purposes, UnknownPurpose
from consent_api.domain.validation.references import LONGEST_REFERENCE
from consent_api.domain.validation.rules import ValidationRules
from consent_api.domain.validation.submission import (
    FIELDS,
    dropped_field,
    event_reference,
    named_address,
    named_purpose,
    readable_event,
    subject_reference,
    validate,
)
from consent_api.domain.validation.times import ReadTime, micros, midnight, rfc3339
from consent_api.domain.validation.validity import ExpiryCut

__all__ = [
    "BY_LINK",
    "EVIDENCE",
    "FIELDS",
    "LONGEST_EVIDENCE",
    "LONGEST_REFERENCE",
    "Event",
    "ExpiryCut",
    "Purposes",
    "ReadTime",
    "UnknownPurpose",
    "ValidDecision",
    "ValidationRules",
    "dropped_field",
    "event_reference",
    "event_source",
    "holds_address",
    "micros",
    "midnight",
    "named_address",
    "named_purpose",
    "readable_event",
    "rfc3339",
    "subject_reference",
    "validate",
]
