"""How an entry on the list differs from what the ledger holds of its address. Pure.

The merge makes an entry of all decisions that have reached the address, so the ledger alone decides what it must hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

import msgspec

from consent_contracts.decisions import EVERY_PURPOSE, AddressEntry, Decision, permits
from consent_contracts.join import join, precedence
from consent_contracts.verdict import Verdict, verdicts

OVERFLOW_SUBJECT = "@overflow"
"""The subject of the refusals with which the merge replaces decisions of an entry that is too large."""
MAX_ENTRY_BYTES = 131_072
"""Above this size the merge reduces an entry. Both as in the merge; a test compares them."""


class DifferenceKind(StrEnum):
    """Kinds of difference. All but LIMITED and MARKED mean a defect."""

    MISSING_ENTRY = "missing_entry"
    MISSING_DECISION = "missing_decision"
    OLDER_DECISION = "older_decision"
    PERMISSION_WITHOUT_LEDGER = "permission_without_ledger"
    REFUSAL_WITHOUT_LEDGER = "refusal_without_ledger"
    WRONG_VERDICT = "wrong_verdict"
    NOT_ERASED = "not_erased"
    """The entry is as it was before an erasure, and may hold what is erased."""
    WRONG_ADDRESS = "wrong_address"
    """The entry names another tenant, channel or address key than it is stored under, or is in the wrong partition."""
    UNREADABLE_ENTRY = "unreadable_entry"
    LIMITED = "limited"
    """The merge has reduced an entry that was too large; what is left permits no more than the ledger."""
    MARKED = "marked"
    """The merge or the relay has made older permissions void, after a loss or in place of a record that was refused."""

    @property
    def is_defect(self) -> bool:
        return self not in (DifferenceKind.LIMITED, DifferenceKind.MARKED)


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryLocation:
    """Where an entry is stored. `tenant`: whose address it is in the ledger, else whose the entry states; None if
    neither is known."""

    tenant: str | None
    channel: str
    address_key: str
    partition: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ListEntry:
    """A readable entry and the partition in which it is."""

    entry: AddressEntry
    verdicts: Mapping[str, Verdict]
    partition: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UnreadableEntry:
    reason: str


Found = ListEntry | UnreadableEntry | None
"""What the list holds under a key; None: nothing, or a tombstone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryDifference:
    """One difference; `decision` is the one that differs. `detail` names no person and no address."""

    kind: DifferenceKind
    location: EntryLocation
    detail: str
    decision: Decision | None = field(default=None, repr=False)


def current_entry(
    tenant: str, channel: str, address_key: str, decisions: Iterable[Decision], *, erased_at: int | None = None
) -> AddressEntry:
    """The entry that the merge makes of these decisions, in whatever order they come; without a sealed address."""
    all_of_them = AddressEntry(
        tenant=tenant,
        channel=channel,
        address_key=address_key,
        sealed_address=None,
        decisions=tuple(decisions),
        erased_at=erased_at,
    )
    if len(all_of_them.decisions) < 2:
        return all_of_them
    return join(msgspec.structs.replace(all_of_them, decisions=()), all_of_them)


def compare(
    location: EntryLocation,
    found: Found,
    *,
    expected: AddressEntry | None,
    recorded: Iterable[Decision],
    large: bool = False,
) -> list[EntryDifference]:
    """The differences of one address.

    `expected`: the entry that the list is sure to have reached by now; None when the ledger holds no decision on the
    address. `recorded`: all that the ledger holds on it now. Decisions recorded meanwhile are in the second alone, and
    may be in the list or not. `large`: the expected entry is near the size limit.
    """
    decisions = expected.decisions if expected is not None else ()
    if found is None:
        return (
            [EntryDifference(kind=DifferenceKind.MISSING_ENTRY, location=location, detail=_names(decisions))]
            if decisions
            else []
        )
    if isinstance(found, UnreadableEntry):
        return [EntryDifference(kind=DifferenceKind.UNREADABLE_ENTRY, location=location, detail=found.reason)]
    if wrong := _wrong_address(location, found):
        return [EntryDifference(kind=DifferenceKind.WRONG_ADDRESS, location=location, detail=wrong)]
    entry = found.entry
    if expected is not None and (entry.erased_at or 0) < (expected.erased_at or 0):
        # All else follows, and names who has been erased: a repair must not record it again.
        return [
            EntryDifference(
                kind=DifferenceKind.NOT_ERASED, location=location, detail="an erasure has not reached the list"
            )
        ]
    differences = [*_lacking(location, entry, decisions), *_unrecorded(location, entry, recorded)]
    if dict(found.verdicts) != verdicts(entry.decisions):
        differences.append(
            EntryDifference(
                kind=DifferenceKind.WRONG_VERDICT, location=location, detail=_verdicts_detail(found.verdicts, entry)
            )
        )
    return _with_limit(differences, entry, decisions, large=large)


def _wrong_address(location: EntryLocation, found: ListEntry) -> str | None:
    entry = found.entry
    if location.tenant is not None and entry.tenant != location.tenant:
        return "the entry names another tenant"
    if (entry.channel, entry.address_key) != (location.channel, location.address_key):
        return "the entry names another channel or address key"
    if found.partition != location.partition:
        return f"the entry is in partition {found.partition} instead of {location.partition}"
    return None


def _lacking(location: EntryLocation, entry: AddressEntry, decisions: Iterable[Decision]) -> Iterable[EntryDifference]:
    """What is in the ledger and not, or only older, in the entry."""
    register = {(each.subject_ref, each.purpose): each for each in entry.decisions}
    for decision in decisions:
        held = register.get((decision.subject_ref, decision.purpose))
        if held is None:
            yield EntryDifference(
                kind=DifferenceKind.MISSING_DECISION, location=location, detail=_names([decision]), decision=decision
            )
        elif precedence(held) < precedence(decision):
            detail = f"{_names([held])} instead of {_names([decision])}"
            yield EntryDifference(
                kind=DifferenceKind.OLDER_DECISION, location=location, detail=detail, decision=decision
            )


def _unrecorded(
    location: EntryLocation, entry: AddressEntry, recorded: Iterable[Decision]
) -> Iterable[EntryDifference]:
    """What is in the entry and not in the ledger."""
    known = {_identity(each) for each in recorded}
    marks = [each for each in entry.decisions if is_mark(each)]
    for held in entry.decisions:
        if _identity(held) in known:
            continue
        if held.subject_ref == OVERFLOW_SUBJECT and not permits(held):
            kind = DifferenceKind.LIMITED
        elif held in marks or (permits(held) and any(precedence(mark) > precedence(held) for mark in marks)):
            kind = DifferenceKind.MARKED
        elif permits(held):
            kind = DifferenceKind.PERMISSION_WITHOUT_LEDGER
        else:
            kind = DifferenceKind.REFUSAL_WITHOUT_LEDGER
        yield EntryDifference(kind=kind, location=location, detail=_names([held]), decision=held)


def _identity(decision: Decision) -> tuple[object, ...]:
    """All of a decision but its mark as bulk, which a repetition changes after the decision was recorded."""
    *fields, _ = precedence(decision)
    return (decision.subject_ref, decision.purpose, *fields)


def is_mark(decision: Decision) -> bool:
    """Whether the merge or the relay has made this decision, in place of others: such ids are UUIDs of version 5, those
    of the ledger of version 7."""
    if (decision.subject_ref, decision.purpose, decision.status) != (None, EVERY_PURPOSE, "invalidated"):
        return False
    try:
        return UUID(decision.decision_id).version == 5
    except ValueError:
        return False


def _with_limit(
    differences: list[EntryDifference], entry: AddressEntry, expected: Collection[Decision], *, large: bool
) -> list[EntryDifference]:
    """What an entry lacks because it was reduced is no defect, as long as it permits no more than the whole one."""
    overflow = any(each.subject_ref == OVERFLOW_SUBJECT for each in entry.decisions)
    if not (overflow or large) or _permits_more(entry.decisions, expected):
        return differences
    kept = []
    for each in differences:
        lacking = each.kind in (DifferenceKind.MISSING_DECISION, DifferenceKind.OLDER_DECISION)
        given_up = lacking and (overflow or (each.decision is not None and permits(each.decision)))
        kept.append(
            EntryDifference(
                kind=DifferenceKind.LIMITED, location=each.location, detail=each.detail, decision=each.decision
            )
            if given_up
            else each
        )
    return kept


def _permits_more(some: Collection[Decision], others: Collection[Decision]) -> bool:
    allowed, bound = verdicts(some), verdicts(others)
    for purpose in allowed.keys() | bound.keys():
        verdict = allowed.get(purpose, allowed[EVERY_PURPOSE])
        if verdict.permitted and not bound.get(purpose, bound[EVERY_PURPOSE]).permitted:
            return True
    return False


def _names(decisions: Iterable[Decision]) -> str:
    return ", ".join(f"{each.purpose} {each.status} ({each.decision_id})" for each in decisions)


def _verdicts_detail(found: Mapping[str, Verdict], entry: AddressEntry) -> str:
    expected = verdicts(entry.decisions)
    purposes = sorted(p for p in found.keys() | expected.keys() if found.get(p) != expected.get(p))
    return f"of {', '.join(purposes)}"
