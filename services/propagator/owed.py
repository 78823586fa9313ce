"""From when on a destination could have been told: what "accepted to acknowledged" is measured from."""

from __future__ import annotations

from consent_contracts.verdict import EXPIRED
from propagator.desired import Wanted

INHERITED_AFTER = 60_000_000
"""Micros between a decision and an entry that holds it, beyond which the entry was written for another reason: an
address that was linked later takes the refusals over that stood then."""


def owed_since(wanted: Wanted, written_at: int) -> int:
    """Micros. `written_at`: of the entry that says it. Never earlier than the newest decision behind it.

    A permission that has ended is owed from its end, not from when it was given; an inherited refusal from the entry.
    """
    if wanted.reason == EXPIRED:
        return max(wanted.recorded_at, wanted.occurred_at)
    if written_at - wanted.recorded_at > INHERITED_AFTER:
        return written_at
    return wanted.recorded_at
