"""What a destination should hold about one address: a pure function of the address's verdicts.

A target that serves several purposes is suppressed as soon as one of them is refused, and permitted only when
all of them are: fail closed. Without any decision nothing is said: `unknown` is the sender's own policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consent_contracts.decisions import EVERY_PURPOSE, Decision, permits
from consent_contracts.verdict import UNKNOWN, Verdict, applicable
from propagator.config import Purposes
from propagator.connector import PERMIT, SUPPRESS, Action


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The state one target is to have, and the decisions behind it. Times in micros."""

    target: str
    action: Action
    purposes: tuple[str, ...]
    reason: str
    decision_ids: tuple[str, ...]
    """The deciding ones first, then every other that says the same about these purposes."""
    occurred_at: int
    recorded_at: int
    expires_at: int | None = None

    def push_id(
        self, destination: str, address_key: str, *, first_of_two: bool = False, told_before: int | None = None
    ) -> str:
        """The same for the same state, however often it is tried. `first_of_two`: it will be told again.

        `told_before`: the moment of the assignment of a worker whose predecessors may have told this state, and others
        since. A receiver that drops ids it knows would drop the state that stands and keep the one between.
        """
        parts = (destination, address_key, self.target, self.action, *self.decision_ids)
        if first_of_two:
            parts = ("first of two", *parts)
        if told_before is not None:
            parts = (f"told before {told_before}", *parts)
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """All that one destination is to be told about one address."""

    wanted: tuple[Wanted, ...]
    nowhere: tuple[str, ...] = ()
    """Decisions that refuse a purpose for which the destination has no target: they cannot be told."""
    nowhere_recorded_at: int = 0


def desired(
    decisions: Iterable[Decision],
    verdicts: Mapping[str, Verdict],
    purposes: Purposes,
    *,
    now: int,
    push_permissions: bool,
) -> Desired:
    """`push_permissions` is to be False too where the entry may lack decisions: under any but the oldest hash key."""
    known = tuple(decisions)
    by_target = _by_target(purposes, verdicts)
    wanted = [
        each
        for target, served in sorted(by_target.items())
        if (each := _wanted(target, served, known, verdicts, now, push_permissions)) is not None
    ]
    told = {each for one in wanted for each in one.decision_ids}
    nowhere = tuple(each for each in _nowhere(purposes, verdicts) if each not in told)
    recorded_at = max((each.recorded_at for each in known if each.decision_id in nowhere), default=0)
    return Desired(wanted=tuple(wanted), nowhere=nowhere, nowhere_recorded_at=recorded_at)


def _by_target(purposes: Purposes, verdicts: Mapping[str, Verdict]) -> dict[str, list[str]]:
    if purposes.same:
        return {purpose: [purpose] for purpose in verdicts}
    by_target: dict[str, list[str]] = {}
    for purpose, targets in purposes.targets.items():
        for target in targets:
            by_target.setdefault(target, []).append(purpose)
    for served in by_target.values():
        # A refusal of everything reaches the purposes of the target through their own verdicts, and a permission
        # that was given since lifts it for its purpose alone: beside a named purpose, `*` adds nothing.
        if len(served) > 1 and EVERY_PURPOSE in served:
            served.remove(EVERY_PURPOSE)
    return by_target


def _wanted(
    target: str,
    served: list[str],
    decisions: tuple[Decision, ...],
    verdicts: Mapping[str, Verdict],
    now: int,
    push_permissions: bool,
) -> Wanted | None:
    answers = [applicable(verdicts, purpose, now) for purpose in sorted(served)]
    refused = [each for each in answers if not each.permitted and each.reason != UNKNOWN]
    if refused:
        return _of(target, SUPPRESS, served, refused, decisions)
    if push_permissions and all(each.permitted for each in answers):
        return _of(target, PERMIT, served, answers, decisions)
    return None


def _of(
    target: str, action: Action, served: list[str], answers: list[Verdict], decisions: tuple[Decision, ...]
) -> Wanted:
    newest = max(answers, key=lambda each: each.since or 0)
    deciding = list(dict.fromkeys(each.decision_id for each in answers if each.decision_id is not None))
    agreeing = [
        each.decision_id
        for each in decisions
        if permits(each) == (action == PERMIT) and (each.purpose in served or each.purpose == EVERY_PURPOSE)
    ]
    carried = tuple(dict.fromkeys([*sorted(deciding), *sorted(agreeing)]))
    recorded = {each.decision_id: each.recorded_at for each in decisions}
    return Wanted(
        target=target,
        action=action,
        purposes=tuple(sorted(served)),
        reason=newest.reason,
        decision_ids=carried,
        occurred_at=newest.since or 0,
        recorded_at=max((recorded[each] for each in carried if each in recorded), default=newest.since or 0),
        expires_at=min((each.expires_at for each in answers if each.expires_at is not None), default=None)
        if action == PERMIT
        else None,
    )


def _nowhere(purposes: Purposes, verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
    if purposes.same:
        return ()
    return tuple(
        sorted(
            {
                verdict.decision_id
                for purpose, verdict in verdicts.items()
                if purpose not in purposes.targets
                and purpose != EVERY_PURPOSE
                and not verdict.permitted
                and verdict.reason != UNKNOWN
                and verdict.decision_id is not None
            }
        )
    )
