"""Submissions for the tests of the rules, and what became of them."""

from __future__ import annotations

from typing import Any

import pytest

from consent_api.domain.validation import EVIDENCE, ReadTime, ValidationRules, ValidDecision, micros, validate
from consent_api.errors import FieldViolation, SubmissionInvalidError

NOW = 1_780_000_000_000_000
SECOND = 1_000_000
RULES = ValidationRules(channels=("sms", "email", "voice"), default_region="FR")
WITHDRAWAL: dict[str, Any] = {"subject_ref": "s1", "channel": "sms", "purpose": "survey", "status": "withdrawn"}
GRANT: dict[str, Any] = {
    **WITHDRAWAL,
    "status": "given",
    "occurred_at": NOW - 60 * SECOND,
    "expires_at": NOW + 3600 * SECOND,
    "evidence": {name: f"some {name}" for name in EVIDENCE},
}


def read(fields: dict[str, Any], rules: ValidationRules = RULES, read_time: ReadTime = micros) -> ValidDecision:
    return validate(fields, tenant="acme", rules=rules, now=NOW, read_time=read_time)


def faults(fields: dict[str, Any], rules: ValidationRules = RULES, read_time: ReadTime = micros) -> dict[str, str]:
    """The code of each fault of a submission that must be refused, by its pointer."""
    return {each.pointer: each.code for each in fault_list(fields, rules, read_time)}


def fault_list(
    fields: dict[str, Any], rules: ValidationRules = RULES, read_time: ReadTime = micros
) -> tuple[FieldViolation, ...]:
    with pytest.raises(SubmissionInvalidError) as refused:
        read(fields, rules, read_time)
    assert all(each.cure for each in refused.value.faults)
    return refused.value.faults


def dropped(fields: dict[str, Any], rules: ValidationRules = RULES, read_time: ReadTime = micros) -> dict[str, str]:
    """The code of each field without which a submission is recorded, by its pointer."""
    return {each.pointer: each.code for each in read(fields, rules, read_time).dropped}
