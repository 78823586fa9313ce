"""Decisions as they are read from the ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from consent_api.domain.fan_out import PublishableDecision
from consent_contracts.decisions import Decision


def decision_of(row: Row[Any]) -> Decision:
    """`row` has a column for each field of a decision."""
    return Decision(
        decision_id=row.decision_id,
        subject_ref=row.subject_ref,
        purpose=row.purpose,
        status=row.status,
        effective_at=row.effective_at,
        recorded_at=row.recorded_at,
        expires_at=row.expires_at,
        bulk=row.bulk,
    )


def choice_of(row: Row[Any]) -> PublishableDecision:
    """`row` has `spreads` and `source_system` too."""
    return PublishableDecision(decision=decision_of(row), spreads=row.spreads, source_system=row.source_system)
