"""Since when a destination could have been informed: what "accepted to acknowledged" is measured from."""

from __future__ import annotations

from consent_contracts.verdict import EXPIRED
from propagator.desired.model import TargetState

INHERITED_AFTER_MICROS = 60_000_000
"""Between a decision and an entry that holds it, beyond which the entry was written for another reason: an address that
was linked later takes over the refusals of its subject."""


def latency_starts_at(state: TargetState, written_at: int) -> int:
    """Micros. `written_at`: of the entry. Never earlier than the newest decision behind the state.

    A permission that has ended counts from its end, not from when it was given; an inherited refusal from the entry.
    """
    if state.reason == EXPIRED:
        return max(state.recorded_at, state.occurred_at)
    if written_at - state.recorded_at > INHERITED_AFTER_MICROS:
        return written_at
    return state.recorded_at
