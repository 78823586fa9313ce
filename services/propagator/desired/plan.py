"""The difference between desired and delivered state: `plan(desired, delivered, rules, now)`. Level-triggered: it
looks at the two states alone, never at what has happened in between (Kubernetes: reconcile).

A row is compared by action and decision ids, under the destination's current fill:

| row                               | desired suppress                     | desired permit                   |
|-----------------------------------|--------------------------------------|----------------------------------|
| none, or of an earlier fill       | deliver                              | deliver                          |
| suppress, same decisions          | nothing                              | deliver                          |
| suppress, other decisions         | the row takes the ids, without a call| deliver                          |
| permit, same decisions            | deliver                              | nothing                          |
| permit, other decisions           | deliver                              | deliver                          |
| in doubt                          | deliver, at repeat_at where it has one| deliver                         |
| refused for good, same decisions  | nothing                              | nothing                          |
| refused for good, other decisions | deliver                              | deliver                          |
| without an address, another seal  | deliver                              | deliver                          |

An address that has been erased is not sent to a tool that needs it: what can be recorded without a call is.

Where a row holds a digest of its decisions, as they are too many, all of other ones count as undelivered.

A permission is sent again for other decisions as a suppression may have taken effect unrecorded in between.
"""

from __future__ import annotations

from msgspec.structs import replace

from consent_contracts.decisions import Decision, permits
from propagator.desired.decision_ids import matches, named
from propagator.desired.desired_state import desired_state
from propagator.desired.model import (
    NOTHING,
    PERMIT,
    SUPPRESS,
    UNMAPPED,
    Delivered,
    DeliveredTarget,
    DesiredState,
    DestinationRules,
    OwnEntry,
    Plan,
    PlannedPush,
    TargetState,
    is_of_another_seal,
)

LEAVING = "unmapped"
_UNKNOWN = DeliveredTarget(target="")


def plan(
    desired: OwnEntry | None, delivered: Delivered, rules: DestinationRules, *, fill_began_at: int, now: int
) -> Plan:
    """What is to be done so that the destination holds the desired state.

    `desired` is None when the list has no entry (erased, or never known), or none of the destination's tenant.
    `fill_began_at` is the beginning of the destination's last fill; rows of an earlier one are unknown. `now` decides
    which permissions have ended.
    """
    if desired is None:
        return Plan(forget=True) if delivered else NOTHING
    entry = desired.entry
    key_id = entry.address_key.partition(".")[0]
    if key_id not in rules.live_keys:
        # Retired: its successor has rows of its own. Without live keys nothing is known, and nothing is dropped.
        return Plan(forget=True) if delivered and rules.live_keys else NOTHING
    oldest = key_id == rules.live_keys[0]
    if rules.address_required and not oldest:
        return NOTHING
    # Only under the oldest live key has the entry every decision, so only there it decides on a permission.
    state = desired_state(
        entry,
        rules.purposes,
        known_targets=(target for target in delivered if target != UNMAPPED),
        now=now,
        permissions=rules.push_permissions and oldest,
    )
    delivered = {target: _without_mended_faults(row, entry.sealed_address) for target, row in delivered.items()}
    planned = _difference(state, entry.decisions, delivered, rules, fill_began_at, entry.written_at)
    if rules.address_required and entry.erased_at is not None and entry.sealed_address is None and planned.pushes:
        # Erased: the certificate names the tools that did not take the objection in time.
        return replace(planned, pushes=())
    return planned


def _difference(
    state: DesiredState,
    decisions: tuple[Decision, ...],
    delivered: Delivered,
    rules: DestinationRules,
    fill_began_at: int,
    written_at: int,
) -> Plan:
    pushes: list[PlannedPush] = []
    adoptions: list[TargetState] = []
    impossible: list[str] = []
    for wanted in state.targets:
        row = _row(delivered, wanted.target, fill_began_at)
        if _same(row, wanted):
            if row.in_doubt:
                pushes.append(_push(wanted, row, decisions, fill_began_at, undelivered=wanted.decision_ids))
            elif row.refused is not None and wanted.action == SUPPRESS:
                impossible.append(wanted.target)
        elif row.action == wanted.action == SUPPRESS and not row.in_doubt and row.refused is None:
            adoptions.append(wanted)
        else:
            undelivered = wanted.decision_ids
            if row.action == wanted.action and not row.in_doubt:
                undelivered = tuple(each for each in undelivered if each not in row.decision_ids)
            elif row.action is not None and set(wanted.decision_ids) <= set(row.decision_ids):
                undelivered = ()  # A permission that has ended: its decision was delivered, as a permission.
            pushes.append(_push(wanted, row, decisions, fill_began_at, undelivered=undelivered))
    pushes += _leaving(delivered, rules, written_at)
    unmapped = None
    if state.unmapped_decisions:
        row = _row(delivered, UNMAPPED, fill_began_at)
        if matches(row.decision_ids, state.unmapped_decisions):
            impossible.append(UNMAPPED)
        else:
            unmapped = DesiredState(
                unmapped_decisions=state.unmapped_decisions, unmapped_recorded_at=state.unmapped_recorded_at
            )
    if not (pushes or adoptions or unmapped or impossible):
        return NOTHING
    return Plan(pushes=tuple(pushes), adoptions=tuple(adoptions), unmapped=unmapped, impossible=tuple(impossible))


def _without_mended_faults(row: DeliveredTarget, sealed_address: bytes | None) -> DeliveredTarget:
    """What failed for lack of an address is tried again once the entry has another seal."""
    if is_of_another_seal(row.refused, sealed_address):
        row = replace(row, action=None, decision_ids=(), refused=None)
    if row.retry is not None and is_of_another_seal(row.retry.reason, sealed_address):
        row = replace(row, retry=None)
    return row


def _row(delivered: Delivered, target: str, fill_began_at: int) -> DeliveredTarget:
    row = delivered.get(target, _UNKNOWN)
    if row.fill_began_at >= fill_began_at:
        return row
    # Of an earlier fill: only the backoff of the address is still known, and that a permission may be in doubt.
    return DeliveredTarget(target=target, action=row.action, in_doubt=row.action is not None, retry=row.retry)


def _same(row: DeliveredTarget, wanted: TargetState) -> bool:
    return row.action == wanted.action and matches(row.decision_ids, wanted.decision_ids)


def _push(
    wanted: TargetState,
    row: DeliveredTarget,
    decisions: tuple[Decision, ...],
    fill_began_at: int,
    *,
    undelivered: tuple[str, ...],
) -> PlannedPush:
    # The end of a permission is no decision of a person now: it is bulk, and counts from when it ended.
    permit = wanted.action == PERMIT
    wanting = frozenset(undelivered)
    made = [each for each in decisions if each.decision_id in wanting and permits(each) == permit]
    live = [each.recorded_at for each in made if not each.bulk and each.recorded_at > fill_began_at]
    not_before, attempts = _schedule(row, wanted)
    return PlannedPush(
        state=wanted,
        live=bool(live),
        since=min(live or [each.recorded_at for each in made], default=wanted.expires_at or wanted.occurred_at),
        not_before=not_before,
        attempts=attempts,
    )


def _schedule(row: DeliveredTarget, wanted: TargetState) -> tuple[int, int]:
    """When the push may go (0: at once), and how many attempts at this very state have failed for the address alone."""
    not_before = attempts = 0
    if row.in_doubt and row.action == wanted.action == SUPPRESS and row.repeat_at is not None:
        not_before = row.repeat_at
    retry = row.retry
    if retry is not None and retry.action == wanted.action and matches(retry.decision_ids, wanted.decision_ids):
        not_before, attempts = max(not_before, retry.retry_at), retry.attempts
    return not_before, attempts


def _leaving(delivered: Delivered, rules: DestinationRules, written_at: int) -> list[PlannedPush]:
    """Targets that a row names and the mapping does not. A permission is taken back; a suppression is left there."""
    if rules.purposes.same:
        return []
    names = rules.purposes.names
    return [
        _leaving_push(row, written_at)
        for row in delivered.values()
        if row.target != UNMAPPED and row.target not in names and (row.in_doubt or row.action not in (None, SUPPRESS))
    ]


def _leaving_push(row: DeliveredTarget, written_at: int) -> PlannedPush:
    wanted = TargetState(
        target=row.target,
        action=SUPPRESS,
        purposes=(),
        reason=LEAVING,
        decision_ids=named(row.decision_ids),
        occurred_at=written_at,
        recorded_at=written_at,
    )
    not_before, attempts = _schedule(row, wanted)
    return PlannedPush(
        state=wanted, live=False, since=written_at, not_before=not_before, attempts=attempts, leaving=True
    )
