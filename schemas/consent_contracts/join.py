"""How two states of one address become one: a join, so that order and duplicates cannot matter.

Per subject and purpose the decisions form a last-writer-wins register under a total order. ``join`` is
commutative, associative and idempotent; part of the contract, so it lives beside the schemas, with vectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from consent_contracts.decisions import KEY_ID, AddressEntry, Decision, permits

SKEW_MICROS = 2_000_000
"""A permission counts as this much older than its stated time: at a near tie the person is left alone."""

_KEY_ID = re.compile(KEY_ID.encode())

Order = tuple[int, int, str, int, str, int, int]


def precedence(decision: Decision) -> Order:
    """The total order: (when chosen, forbids before permits, decision id, ..., live above bulk); the greatest wins.

    Between the id and the mark nothing differs between two copies of one decision; it makes the order total over any
    input, hence the join commutative even for records that break the rule of unique ids. The mark comes last: a copy
    of a live decision that is published again in bulk changes nothing, and a live copy of a bulk one makes it live.
    """
    forbids = not permits(decision)
    return (
        decision.effective_at if forbids else decision.effective_at - SKEW_MICROS,
        int(forbids),
        decision.decision_id,
        decision.recorded_at,
        decision.status,
        -1 if decision.expires_at is None else -decision.expires_at - 2,
        int(not decision.bulk),
    )


def permits_after(refused_at: int) -> int:
    """The first moment at which a permission is newer than a refusal at that one, in microseconds."""
    return refused_at + SKEW_MICROS + 1


def join(state: AddressEntry | None, other: AddressEntry) -> AddressEntry:
    """Join ``other`` into ``state``. Returns ``state`` itself, the same object, when ``other`` adds nothing.

    Both describe one (tenant, channel, address_key); ValueError when they do not. Of two sealed forms of the
    address a well-formed one is kept, and of two such the greater bytes: key ids lead them and ascend with age, so the
    newest key wins.

    After an erasure nothing of before counts: the state of the later erasure is the whole result, seal included.
    """
    if state is None:
        return other
    if (state.address_key, state.channel, state.tenant) != (other.address_key, other.channel, other.tenant):
        raise ValueError("two different addresses cannot be joined")
    if state.erased_at != other.erased_at:
        return max(state, other, key=_erased_at)
    register = {(d.subject_ref, d.purpose): d for d in state.decisions}
    changed = False
    for decision in other.decisions:
        slot = (decision.subject_ref, decision.purpose)
        current = register.get(slot)
        if current is None or precedence(current) < precedence(decision):
            register[slot] = decision
            changed = True
    sealed = _seal(state.sealed_address, other.sealed_address)
    if not changed and sealed == state.sealed_address:
        return state
    return AddressEntry(
        tenant=state.tenant,
        channel=state.channel,
        address_key=state.address_key,
        sealed_address=sealed,
        decisions=_sorted(register.values()) if changed else state.decisions,
        erased_at=state.erased_at,
    )


def well_formed(sealed: bytes) -> bool:
    """Whether it is laid out as a sealed address: length of the key id, key id, nonce (12 bytes), text and tag (16)."""
    length = sealed[0] if sealed else 0
    return _KEY_ID.fullmatch(sealed[1 : 1 + length]) is not None and len(sealed) > 1 + length + 28


def _erased_at(entry: AddressEntry) -> int:
    return -1 if entry.erased_at is None else entry.erased_at


def _seal(one: bytes | None, other: bytes | None) -> bytes | None:
    if one == other or not one or not other:
        return one or other or None
    return max(one, other, key=lambda sealed: (well_formed(sealed), sealed))


def _sorted(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    return tuple(sorted(decisions, key=lambda d: (d.subject_ref is not None, d.subject_ref or "", d.purpose)))
