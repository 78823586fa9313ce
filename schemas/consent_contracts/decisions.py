"""One choice of one person, and all that is known of one address.

Whether an address takes messages is known as a finding: a decision on `DELIVERY` in the place of a purpose. It is
merged as choices are, and is none: it ends no consent, and is pushed to no tool (docs/decisions/0040).

Statuses follow the consent states of W3C DPV; ``objected`` is GDPR art. 21. Times are microseconds since the
epoch, UTC. The structs are array-like: their MessagePack form is the processors' compact local state.
"""

from __future__ import annotations

import msgspec

from consent_contracts.reading import EVERY_PURPOSE, KEY_ID, UNDELIVERABLE

__all__ = [
    "DELIVERED",
    "DELIVERY",
    "EVERY_PURPOSE",
    "FINDINGS",
    "GIVEN",
    "KEY_ID",
    "STATUSES",
    "UNDELIVERABLE",
    "AddressEntry",
    "Decision",
    "choices",
    "permits",
]

GIVEN = "given"
STATUSES = frozenset({GIVEN, "refused", "withdrawn", "objected", "expired", "invalidated"})
"""Of choices."""
DELIVERY = "@delivery"
"""No purpose: whether the address takes messages. Of the address itself, without a subject."""
DELIVERED = "delivered"
FINDINGS = frozenset({UNDELIVERABLE, DELIVERED})
"""The statuses on `DELIVERY`, as of the tool's time of the bounce or the delivery; the newer counts."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One subject's choice for one purpose, on the channel and address of the entry that holds it.

    ``subject_ref`` is None when only the address is known (a STOP from a number). ``effective_at`` is when the
    person chose, never later than ``recorded_at``, when we accepted it. ``expires_at`` only binds a permission.
    ``bulk``: recorded by an import or another bulk source; it decides the order of delivery, never a verdict.
    """

    decision_id: str
    subject_ref: str | None
    purpose: str
    status: str
    effective_at: int
    recorded_at: int
    expires_at: int | None = None
    bulk: bool = False


class AddressEntry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """All current decisions on one address: at most one per subject and purpose, sorted by both.

    ``erased_at``: when the last erasure took place that concerned it (micros). What was there before is not in it, but
    for the decisions that the erasure left.
    """

    tenant: str
    channel: str
    address_key: str
    sealed_address: bytes | None
    decisions: tuple[Decision, ...]
    erased_at: int | None = None


def permits(decision: Decision) -> bool:
    """Only ``given`` permits; every other status, an unknown one too, forbids."""
    return decision.status == GIVEN


def choices(decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
    """What people chose, without the finding on the address; the same object where there is none."""
    found = tuple(each for each in decisions if each.purpose != DELIVERY)
    return decisions if len(found) == len(decisions) else found
