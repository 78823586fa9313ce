"""What a destination is to hold for one address: a pure function of the address's verdicts.

A target that serves several purposes is suppressed as soon as one of them is refused, and permitted only when all of
them are: fail closed. Without any decision no state is desired: `unknown` is the sender's own policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consent_contracts.decisions import EVERY_PURPOSE, Decision, permits
from consent_contracts.verdict import UNKNOWN, Verdict, applicable

from .model import PERMIT, SUPPRESS, Action, DesiredState, ListEntry, Purposes, TargetState


def desired_state(
    entry: ListEntry, purposes: Purposes, *, known_targets: Iterable[str] = (), now: int, permissions: bool
) -> DesiredState:
    """`permissions`: whether a permission may be desired at all.

    `known_targets`: those that the destination took something for; with `purposes: same` their verdict may be that of
    `*` by now.
    """
    verdicts = entry.verdicts
    targets = [
        found
        for target, served in sorted(_by_target(purposes, verdicts, known_targets).items())
        if (found := _target_state(target, served, entry.decisions, verdicts, now, permissions)) is not None
    ]
    carried = {each for one in targets for each in one.decision_ids}
    unmapped = tuple(each for each in _unmapped(purposes, verdicts) if each not in carried)
    recorded_at = max((each.recorded_at for each in entry.decisions if each.decision_id in unmapped), default=0)
    return DesiredState(targets=tuple(targets), unmapped_decisions=unmapped, unmapped_recorded_at=recorded_at)


def _by_target(
    purposes: Purposes, verdicts: Mapping[str, Verdict], known_targets: Iterable[str]
) -> dict[str, list[str]]:
    if purposes.same:
        return {purpose: [purpose] for purpose in {*verdicts, *known_targets}}
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


def _target_state(
    target: str,
    served: list[str],
    decisions: tuple[Decision, ...],
    verdicts: Mapping[str, Verdict],
    now: int,
    permissions: bool,
) -> TargetState | None:
    answers = [applicable(verdicts, purpose, now) for purpose in sorted(served)]
    refused = [each for each in answers if not each.permitted and each.reason != UNKNOWN]
    if refused:
        return _of(target, SUPPRESS, served, refused, decisions)
    if permissions and all(each.permitted for each in answers):
        return _of(target, PERMIT, served, answers, decisions)
    return None


def _of(
    target: str, action: Action, served: list[str], answers: list[Verdict], decisions: tuple[Decision, ...]
) -> TargetState:
    newest = max(answers, key=lambda each: each.since or 0)
    deciding = list(dict.fromkeys(each.decision_id for each in answers if each.decision_id is not None))
    agreeing = [
        each.decision_id
        for each in decisions
        if permits(each) == (action == PERMIT) and (each.purpose in served or each.purpose == EVERY_PURPOSE)
    ]
    carried = tuple(dict.fromkeys([*sorted(deciding), *sorted(agreeing)]))
    recorded = {each.decision_id: each.recorded_at for each in decisions}
    return TargetState(
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
