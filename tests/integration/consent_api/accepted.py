"""Decisions as the API's validation accepts them."""

from __future__ import annotations

from consent_api.domain.validation import EVIDENCE, ValidDecision
from consent_service.clock import now_micros

YEAR = 365 * 24 * 3600 * 1_000_000
EVIDENCE_TEXTS = {name: f"some {name}" for name in EVIDENCE}


def decision(status: str = "withdrawn", **given: object) -> ValidDecision:
    """Of this moment, by SMS about the newsletter, without a person yet; a permission with its evidence, for a year."""
    now = now_micros()
    values: dict[str, object] = {
        "tenant": "acme",
        "event_id": None,
        "subject_ref": None,
        "address": None,
        "channel": "sms",
        "purpose": "newsletter",
        "status": status,
        "effective_at": now,
        "recorded_at": now,
        "expires_at": now + YEAR if status == "given" else None,
        "evidence": EVIDENCE_TEXTS if status == "given" else {},
    }
    return ValidDecision(**{**values, **given})  # type: ignore[arg-type]
