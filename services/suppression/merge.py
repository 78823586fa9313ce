"""The rule of this stage, and nothing else: standing entries and changes in, the entries to write out.

Pure. Because `join` is commutative, associative and idempotent, neither the order of the changes, nor repeats, nor
where one chunk ends and the next begins can make a difference to the entries that stand in the end.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from consent_contracts.decisions import EVERY_PURPOSE, Decision, Entry
from consent_contracts.join import join

EntryKey = tuple[str, str]
"""Where an entry lives: its channel and address key."""

_LOST = uuid.UUID("0198f6a4-51c2-7d3e-9a41-6a1f1d0c7b55")


@dataclass(kw_only=True, slots=True)
class Merged:
    """What a chunk comes to: `entries` to write, one a place at most, and which changes fit no entry."""

    entries: dict[EntryKey, Entry] = field(default_factory=dict)
    misplaced: list[int] = field(default_factory=list)
    unchanged: int = 0


def merge(standing: Mapping[EntryKey, Entry], changes: Iterable[Entry]) -> Merged:
    """Join `changes`, in any order, into the `standing` entries of their places.

    An entry to which a chunk adds nothing is not written. `misplaced` holds the positions of changes that name
    another tenant than the entry of their address: two tenants never share an address key, so one of them lies.
    """
    merged = Merged()
    entries = merged.entries
    for position, change in enumerate(changes):
        place = (change.channel, change.address_key)
        before = entries.get(place) or standing.get(place)
        if before is not None and before.tenant != change.tenant:
            merged.misplaced.append(position)
            continue
        after = join(before, change)
        if after is before:
            merged.unchanged += 1
        else:
            entries[place] = after
    return merged


def after_loss(change: Entry, *, lost: bytes, now: int) -> Entry:
    """The state from which to go on where the standing entry cannot be read (R4).

    What it held is lost, refusals perhaps, so nothing given before `now` may count: an address-wide `invalidated`
    overrules every older permission until somebody gives again. Finding the same loss twice changes nothing but
    the moment.
    """
    unknown = Decision(
        decision_id=str(uuid.uuid5(_LOST, hashlib.sha256(lost).hexdigest())),
        subject_ref=None,
        purpose=EVERY_PURPOSE,
        status="invalidated",
        effective_at=now,
        recorded_at=now,
    )
    return Entry(
        tenant=change.tenant,
        channel=change.channel,
        address_key=change.address_key,
        sealed_address=None,
        decisions=(unknown,),
    )
