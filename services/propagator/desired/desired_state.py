"""What a destination is to hold for one address: a pure function of the address's verdicts.

A target that serves several purposes is suppressed as soon as one of them is refused, and permitted only when all of
them are: fail closed. Without any decision no state is desired: `unknown` is the sender's own policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consent_contracts.decisions import EVERY_PURPOSE, Decision, permits
from consent_contracts.verdict import UNKNOWN, Verdict, effective_verdict
from propagator.desired.model import PERMIT, SUPPRESS, Action, DesiredState, ListEntry, Purposes, TargetState


def desired_state(
    entry: ListEntry, purposes: Purposes, *, known_targets: Iterable[str] = (), now: int, permissions: bool
) -> DesiredState:
    """`permissions`: whether a permission may be desired at all.

    `known_targets`: those that the destination took something for; with `purposes: same` their verdict may be that of
    `*` by now.
    """
    known = frozenset(known_targets) if purposes.same else frozenset()
    last_end = _last_end(entry.verdicts, now)
    key = (purposes, known, last_end, permissions)
    found = entry.desired_states.get(key)
    if found is None:
        found = entry.desired_states[key] = _desired_state(entry, purposes, known, last_end, permissions)
    return found


def _last_end(verdicts: Mapping[str, Verdict], now: int) -> int:
    """When the last permission has ended until now. Since then the clock has changed nothing."""
    last = 0
    for each in verdicts.values():
        if each.permitted and each.expires_at is not None and last < each.expires_at <= now:
            last = each.expires_at
    return last


def _desired_state(
    entry: ListEntry, purposes: Purposes, known_targets: frozenset[str], now: int, permissions: bool
) -> DesiredState:
    verdicts = entry.verdicts
    by_target = purposes.by_target
    if purposes.same:
        by_target = {purpose: (purpose,) for purpose in sorted({*verdicts, *known_targets})}
    targets = [
        found
        for target, served in by_target.items()
        if (found := _target_state(target, served, entry.decisions, verdicts, now, permissions)) is not None
    ]
    unmapped: tuple[str, ...] = ()
    recorded_at = 0
    if refused := _unmapped(purposes, verdicts):
        carried = {each for one in targets for each in one.decision_ids}
        unmapped = tuple(each for each in refused if each not in carried)
        recorded_at = max((each.recorded_at for each in entry.decisions if each.decision_id in unmapped), default=0)
    return DesiredState(targets=tuple(targets), unmapped_decisions=unmapped, unmapped_recorded_at=recorded_at)


def _target_state(
    target: str,
    served: tuple[str, ...],
    decisions: tuple[Decision, ...],
    verdicts: Mapping[str, Verdict],
    now: int,
    permissions: bool,
) -> TargetState | None:
    answers = [effective_verdict(verdicts, purpose, now) for purpose in served]
    refused = [each for each in answers if not each.permitted and each.reason != UNKNOWN]
    if refused:
        return _of(target, SUPPRESS, served, refused, decisions)
    if permissions and all(each.permitted for each in answers):
        return _of(target, PERMIT, served, answers, decisions)
    return None


def _of(
    target: str, action: Action, served: tuple[str, ...], answers: list[Verdict], decisions: tuple[Decision, ...]
) -> TargetState:
    permit = action == PERMIT
    newest = max(answers, key=_since)
    deciding = {each.decision_id for each in answers if each.decision_id is not None}
    agreeing = {
        each.decision_id
        for each in decisions
        if permits(each) == permit and (each.purpose in served or each.purpose == EVERY_PURPOSE)
    }
    carried = (*sorted(deciding), *sorted(agreeing - deciding))
    known = deciding | agreeing
    return TargetState(
        target=target,
        action=action,
        purposes=served,
        reason=newest.reason,
        decision_ids=carried,
        occurred_at=_since(newest),
        recorded_at=max((each.recorded_at for each in decisions if each.decision_id in known), default=_since(newest)),
        expires_at=min((each.expires_at for each in answers if each.expires_at is not None), default=None)
        if permit
        else None,
    )


def _since(verdict: Verdict) -> int:
    return verdict.since or 0


def _unmapped(purposes: Purposes, verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
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
