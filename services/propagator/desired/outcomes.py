"""How a target's row changes by what becomes of a push: one pure function for each event.

A suppression that is accepted while an earlier permission may still take effect stays in doubt itself. It is delivered
once more when that call can no longer take effect (`repeat_at`). A permission that is accepted meanwhile keeps that
moment in its row, for a suppression that comes before it.
"""

from __future__ import annotations

from msgspec.structs import replace

from propagator.desired.model import (
    PERMIT,
    SUPPRESS,
    UNMAPPED,
    DeliveredTarget,
    DesiredState,
    PlannedPush,
    RetryState,
    TargetState,
)

NO_TARGET = "no_target"


def next_version(row: DeliveredTarget | None, *, written_at: int, clock: int, newest_append: int) -> int:
    """The version of a call: max(previous + 1, the entry's `written_at`, the clock but at most 2 s after the newest
    append time read). It grows by joins, ends and mappings alike, and does not fall when topics are rebuilt."""
    previous = row.version if row is not None else 0
    return max(previous + 1, written_at, min(clock, newest_append + 2_000_000))


def permit_begins(push: PlannedPush, *, version: int, fill_began_at: int) -> DeliveredTarget:
    """Committed before the call of a permission is made: until its answer, the destination may hold it or not."""
    return DeliveredTarget(
        target=push.state.target,
        action=PERMIT,
        decision_ids=push.state.decision_ids,
        version=version,
        in_doubt=True,
        fill_began_at=fill_began_at,
    )


def accepted(
    row: DeliveredTarget | None,
    push: PlannedPush,
    *,
    version: int,
    now: int,
    fill_began_at: int,
    settles_at: int,
    reference: str | None = None,
) -> DeliveredTarget | None:
    """The destination has it. None: the row is dropped (a target that left the mapping is suppressed by now).

    `row`: as it was when the call was planned, so of an earlier call. `settles_at`: when a call whose answer is missing
    can no longer take effect, were it made until now.
    """
    repeat_at = _earlier_permit_until(row, now=now, settles_at=settles_at)
    in_doubt = push.state.action == SUPPRESS and repeat_at is not None
    if push.leaving and not in_doubt:
        return None
    return DeliveredTarget(
        target=push.state.target,
        action=push.state.action,
        decision_ids=push.state.decision_ids,
        version=version,
        in_doubt=in_doubt,
        repeat_at=repeat_at,
        provider_reference=reference,
        delivered_at=now,
        fill_began_at=fill_began_at,
    )


def refused(
    row: DeliveredTarget | None,
    push: PlannedPush,
    *,
    code: str,
    version: int,
    now: int,
    fill_began_at: int,
    settles_at: int,
) -> DeliveredTarget | None:
    """The destination will never take it for this address. `row` and `settles_at` as in `accepted`."""
    if push.leaving:
        return None
    return DeliveredTarget(
        target=push.state.target,
        action=push.state.action,
        decision_ids=push.state.decision_ids,
        version=version,
        repeat_at=_earlier_permit_until(row, now=now, settles_at=settles_at),
        refused=code,
        delivered_at=now,
        fill_began_at=fill_began_at,
    )


def _earlier_permit_until(row: DeliveredTarget | None, *, now: int, settles_at: int) -> int | None:
    """When a permission that was called before this call can no longer take effect; None: there is none that can."""
    if row is None:
        return None
    if row.in_doubt and row.action == PERMIT:
        return settles_at
    return row.repeat_at if row.repeat_at is not None and now < row.repeat_at else None


def failed(row: DeliveredTarget | None, push: PlannedPush, *, reason: str, retry_at: int) -> DeliveredTarget:
    """An attempt failed for this address alone: what the target last took is kept, beside the backoff."""
    retry = RetryState(
        action=push.state.action,
        decision_ids=push.state.decision_ids,
        attempts=push.attempts + 1,
        reason=reason,
        retry_at=retry_at,
    )
    return replace(row or DeliveredTarget(target=push.state.target), retry=retry)


def not_sent(row_before: DeliveredTarget | None, push: PlannedPush) -> DeliveredTarget:
    """The call of a permission surely never reached the destination: the row is as before it began."""
    return row_before if row_before is not None else DeliveredTarget(target=push.state.target)


def adopted(row: DeliveredTarget, state: TargetState) -> DeliveredTarget:
    """A suppressed target takes over the decisions that suppress it now."""
    return replace(row, decision_ids=state.decision_ids)


def unmapped(state: DesiredState, *, now: int, fill_began_at: int) -> DeliveredTarget:
    """The row of decisions for which the destination has no target."""
    return DeliveredTarget(
        target=UNMAPPED,
        decision_ids=state.unmapped_decisions,
        refused=NO_TARGET,
        delivered_at=now,
        fill_began_at=fill_began_at,
    )
