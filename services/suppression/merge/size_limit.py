"""Reduces an entry that is too large. The reduced entry never permits what the full one suppressed.

Pure. The state of an address may only lose what permits. So nothing is cut off a refusal: what is given up is
replaced by one refusal, in the name of a subject that no submission can name (`OVERFLOW_SUBJECT`). Because no
permission lifts another subject's refusal, a reduced entry stays at least as strict as the full one would have been,
whatever changes are joined into it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from consent_contracts.decisions import DELIVERY, EVERY_PURPOSE, AddressEntry, Decision, choices, permits
from consent_contracts.join import precedence

OVERFLOW_SUBJECT = "@overflow"
"""The subject of refusals that replace several. No submission may have an @ in a reference."""


def reduce_to_limit(entry: AddressEntry, fits: Callable[[AddressEntry], bool]) -> AddressEntry:
    """`entry` as it is when it fits, else with as much of it as fits. The same for the same decisions.

    First permissions without an end go, the oldest first: without them the verdict can only suppress. (One with an end
    cannot simply go: of several the earliest end counts, so without it the others would last longer.) Then the
    decisions on a purpose, that with the most of them first, become one refusal of it. In the end there is one
    refusal, of everything. What is known of delivery is kept until then.
    """
    if fits(entry):
        return entry
    endless = sorted((d for d in entry.decisions if permits(d) and d.expires_at is None), key=precedence)

    def without_oldest(count: int) -> AddressEntry:
        gone = {(d.subject_ref, d.purpose) for d in endless[:count]}
        return _of(entry, (d for d in entry.decisions if (d.subject_ref, d.purpose) not in gone))

    found = _first(len(endless), without_oldest, fits)
    if found is not None:
        return found
    by_purpose: dict[str, list[Decision]] = {}
    for decision in without_oldest(len(endless)).decisions:
        by_purpose.setdefault(decision.purpose, []).append(decision)
    found_out = by_purpose.pop(DELIVERY, [])
    crowded = sorted(by_purpose, key=lambda purpose: (-len(by_purpose[purpose]), purpose))

    def refusing(count: int) -> AddressEntry:
        closed = [_refusal(by_purpose[purpose], purpose) for purpose in crowded[:count]]
        return _of(entry, closed + found_out + [d for purpose in crowded[count:] for d in by_purpose[purpose]])

    found = _first(len(crowded), refusing, fits)
    return found if found is not None else _of(entry, [_refusal(choices(entry.decisions), EVERY_PURPOSE)])


def _first(most: int, make: Callable[[int], AddressEntry], fits: Callable[[AddressEntry], bool]) -> AddressEntry | None:
    """The first of make(1) to make(most) that fits, found by halving; None when the last one does not."""
    if not most or not fits(last := make(most)):
        return None
    low, high, found = 1, most, last
    while low < high:
        middle = (low + high) // 2
        candidate = make(middle)
        if fits(candidate):
            high, found = middle, candidate
        else:
            low = middle + 1
    return found


def _refusal(decisions: Iterable[Decision], purpose: str) -> Decision:
    """The newest refusal among `decisions`, for all of them; without one, the newest permission made void."""
    decisions = tuple(decisions)
    newest = max((d for d in decisions if not permits(d)), key=precedence, default=None)
    if newest is None:
        newest = msgspec.structs.replace(max(decisions, key=precedence), status="invalidated")
    return msgspec.structs.replace(newest, subject_ref=OVERFLOW_SUBJECT, purpose=purpose, expires_at=None)


def _of(entry: AddressEntry, decisions: Iterable[Decision]) -> AddressEntry:
    return msgspec.structs.replace(
        entry,
        decisions=tuple(
            sorted(decisions, key=lambda d: (d.subject_ref is not None, d.subject_ref or "", d.purpose)),
        ),
    )
