"""What a reader of a list has to know of an entry. With the standard library alone, like all that a reader imports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

EVERY_PURPOSE = "*"
KEY_ID = "[a-z][a-z0-9]{0,15}"
"""Pattern of a key id: before the dot of an address key, and within a sealed address."""
UNKNOWN = "unknown"
EXPIRED = "expired"
UNDELIVERABLE = "undeliverable"


class Verdict(NamedTuple):
    """The answer for one address and one purpose.

    ``reason`` is the status of the deciding decision, ``undeliverable`` where nothing but a bounce forbids, or
    ``unknown`` when there is none. ``since`` is when that
    decision took effect; a permission ends at ``expires_at`` (both microseconds, UTC).
    """

    permitted: bool
    reason: str
    since: int | None = None
    expires_at: int | None = None
    decision_id: str | None = None


NO_DECISION = Verdict(permitted=False, reason=UNKNOWN)


def effective_verdict(known: Mapping[str, Verdict], purpose: str, now: int) -> Verdict:
    """The one line every reader needs: the purpose's own verdict or that of ``*``, unless it has expired."""
    found = known.get(purpose) or known.get(EVERY_PURPOSE) or NO_DECISION
    if found.permitted and found.expires_at is not None and found.expires_at <= now:
        return Verdict(
            permitted=False,
            reason=EXPIRED,
            since=found.expires_at,
            expires_at=found.expires_at,
            decision_id=found.decision_id,
        )
    return found
