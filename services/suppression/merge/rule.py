"""The rule of the merge, and nothing else: current entries and changes in, the entries to write out.

Pure. Because `join` is commutative, associative and idempotent, neither the order of the changes, nor repeats, nor
where one chunk ends and the next begins, nor the lane by which a change comes, can make a difference to the entries
that result in the end.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from consent_contracts.decisions import EVERY_PURPOSE, AddressEntry, Decision
from consent_contracts.join import join
from suppression.merge.seals import SealRank, any_seal

EntryKey = tuple[str, str]
"""Where an entry lives: its channel and address key."""

_LOST = uuid.UUID("0198f6a4-51c2-7d3e-9a41-6a1f1d0c7b55")


@dataclass(kw_only=True, slots=True)
class Merged:
    """What a chunk comes to: `entries` to write, one an address at most, and which changes fit no entry."""

    entries: dict[EntryKey, AddressEntry] = field(default_factory=dict)
    tenant_mismatches: list[int] = field(default_factory=list)
    joined: int = 0
    unchanged: int = 0
    rewrites: set[EntryKey] = field(default_factory=set)


def merge(
    current: Mapping[EntryKey, AddressEntry],
    changes: Iterable[AddressEntry],
    *,
    rewrites: Collection[int] = frozenset(),
    rank: SealRank = any_seal,
) -> Merged:
    """Join `changes`, in any order, into the `current` entries of their addresses.

    An entry to which a chunk adds nothing is not written, except for the changes at the positions `rewrites`: what the
    topic holds differs from the ledger, and so perhaps from `current`. `tenant_mismatches` holds the positions of
    changes that name another tenant than the entry of their address: two tenants never share an address key, so one of
    them is wrong; of a rewrite, which comes from the ledger, it is the entry, which is then replaced. Of two seals the
    one of the higher `rank` is kept.
    """
    merged = Merged()
    entries = merged.entries
    for position, change in enumerate(changes):
        key = (change.channel, change.address_key)
        before = entries.get(key) or current.get(key)
        if before is not None and before.tenant != change.tenant:
            if position not in rewrites:
                merged.tenant_mismatches.append(position)
                continue
            before = None
        if (
            before is not None
            # Of two erasures the later one brings its own seal, whichever that is.
            and before.erased_at == change.erased_at
            and before.sealed_address != change.sealed_address
        ):
            before, change = _without_the_lesser_seal(before, change, rank)
        after = join(before, change)
        if position in rewrites:
            merged.rewrites.add(key)
        elif after is before:
            merged.unchanged += 1
            continue
        merged.joined += 1
        entries[key] = after
    return merged


def newly_erased(entries: Mapping[EntryKey, AddressEntry], current: Mapping[EntryKey, AddressEntry]) -> list[EntryKey]:
    """Those of `entries` that an erasure has replaced since they were as `current` has them."""
    return [
        key
        for key, entry in entries.items()
        if entry.erased_at is not None and (key not in current or current[key].erased_at != entry.erased_at)
    ]


def _without_the_lesser_seal(
    before: AddressEntry, change: AddressEntry, rank: SealRank
) -> tuple[AddressEntry, AddressEntry]:
    if before.sealed_address and change.sealed_address:
        held, brought = (rank(each.address_key, each.sealed_address or b"") for each in (before, change))
        if held < brought:
            before = msgspec.structs.replace(before, sealed_address=None)
        elif brought < held:
            change = msgspec.structs.replace(change, sealed_address=None)
    return before, change


def fail_closed_entry(change: AddressEntry, *, lost: bytes, now: int) -> AddressEntry:
    """The state from which to go on where the stored entry cannot be read (R4).

    What it held is lost, refusals perhaps, so nothing given before `now` may count: an address-wide `invalidated`
    overrules every older permission until permission is given again. Idempotent for the same lost bytes, except for the
    timestamp.
    """
    unknown = Decision(
        decision_id=str(uuid.uuid5(_LOST, hashlib.sha256(lost).hexdigest())),
        subject_ref=None,
        purpose=EVERY_PURPOSE,
        status="invalidated",
        effective_at=now,
        recorded_at=now,
    )
    return AddressEntry(
        tenant=change.tenant,
        channel=change.channel,
        address_key=change.address_key,
        sealed_address=None,
        decisions=(unknown,),
        # Else the change, which is of a later erasure, would count alone.
        erased_at=change.erased_at,
    )
