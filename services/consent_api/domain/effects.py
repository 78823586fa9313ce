"""Whether a recorded decision takes effect, or which other one decides in its place. Pure.

It errs on the side of promising less: a refusal that a newer permission of the same person lifts is superseded even
while another person's refusal forbids the same address.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from consent_contracts.decisions import EVERY_PURPOSE, Decision, permits
from consent_contracts.join import precedence
from consent_contracts.verdict import Verdict, effective_verdict, verdict, verdicts


class Effect(StrEnum):
    IN_EFFECT = "in_effect"
    SUPERSEDED = "superseded"
    NO_ADDRESS = "no_address"
    """No address is known of the person on the channel. A refusal waits for those that are linked later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The effect of a decision now. ``superseded_by``: the id of the one that decides, since ``superseded_since``
    (micros): when the person chose that, or when a permission ended, which then may be the decision itself."""

    effect: Effect
    superseded_by: str | None = None
    superseded_since: int | None = None


BEFORE_ANY_CHOICE = 0
_IN_EFFECT = Outcome(effect=Effect.IN_EFFECT)
_NO_ADDRESS = Outcome(effect=Effect.NO_ADDRESS)


def of_permission(verdicts: Collection[Verdict], *, now: int) -> Outcome:
    """What comes of a permission; ``verdicts``: for its purpose, at each address that it reached."""
    if not verdicts:
        return _NO_ADDRESS
    found = [_ended(each, now) for each in verdicts]
    return _IN_EFFECT if any(each.permitted for each in found) else _superseded_by(found)


def of_refusal(refusal: Decision, addresses: Collection[Collection[Decision]], *, now: int) -> Outcome:
    """What comes of a refusal; ``addresses``: for each address that it reached, the decisions there.

    Those older than the refusal do not matter, nor, where it is a subject's, those of others: they cannot lift it.
    """
    if not addresses:
        return _NO_ADDRESS
    lifting = [each for decisions in addresses for each in _lifting(refusal, decisions, now)]
    return _superseded_by(lifting) if lifting else _IN_EFFECT


def forbids(verdict: Verdict) -> bool:
    """Whether a decision forbids; the end of a permission is none."""
    return not verdict.permitted and verdict.decision_id is not None


def counts_from(refusal: Decision, decisions: Collection[Decision]) -> int:
    """From when (micros) a refusal without a time counts at an address: never older than what is decided there."""
    newest = max((each.effective_at for each in decisions if _concerns(refusal, each)), default=refusal.effective_at)
    return max(newest, refusal.effective_at)


def lifts_nothing_from(permission: Decision, decisions: Collection[Decision]) -> int:
    """From when (micros) a permission counts at an address that must lift no refusal, not even one that is recorded
    later or at this moment: from the permission that it renews, or else from before any choice."""
    renewed = [
        each
        for each in decisions
        if permits(each) and (each.subject_ref, each.purpose) == (permission.subject_ref, permission.purpose)
    ]
    return min([permission.effective_at, *(each.effective_at for each in renewed)]) if renewed else BEFORE_ANY_CHOICE


def _lifting(refusal: Decision, decisions: Collection[Decision], now: int) -> list[Verdict]:
    """The verdicts by which newer decisions permit what was refused."""
    decisions = [each for each in decisions if _concerns(refusal, each) and precedence(refusal) <= precedence(each)]
    if not any(permits(each) for each in decisions):
        return []
    if refusal.purpose == EVERY_PURPOSE:
        known = verdicts(decisions)
        found = [effective_verdict(known, purpose, now) for purpose in known]
    else:
        found = [_ended(verdict(decisions, refusal.purpose), now)]
    return [each for each in found if each.permitted]


def _concerns(refusal: Decision, other: Decision) -> bool:
    """Whether one of the two could decide in the other's place: one person's (of an address by itself, anybody's), and
    one purpose or every."""
    return (refusal.subject_ref is None or refusal.subject_ref == other.subject_ref) and (
        refusal.purpose == other.purpose or EVERY_PURPOSE in (refusal.purpose, other.purpose)
    )


def _ended(found: Verdict, now: int) -> Verdict:
    return effective_verdict({EVERY_PURPOSE: found}, EVERY_PURPOSE, now)


def _superseded_by(found: Collection[Verdict]) -> Outcome:
    newest = max(found, key=lambda each: (each.since or 0, each.decision_id or ""))
    return Outcome(effect=Effect.SUPERSEDED, superseded_by=newest.decision_id, superseded_since=newest.since)
