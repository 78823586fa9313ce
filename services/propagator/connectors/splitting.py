"""Find the one push that spoils a call where a provider takes all of a call or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from propagator.connector import Outcome, Push, Refused, TryAgain
from propagator.errors import CallFailed, Throttled, Withheld

Alone = Refused | TryAgain
Attempt = Callable[[Sequence[Push]], Awaitable[Sequence[Outcome] | Alone]]
"""Tries one call. A single answer instead of one a push means that the provider refused the call as a whole for
its content or size; it is what that refusal says of a push that was in the call alone."""


async def halving(pushes: Sequence[Push], attempt: Attempt) -> Sequence[Outcome]:
    """One outcome a push, in order; a refused call is halved down to single pushes.

    Once some of the pushes are settled, a failure of a later call costs only the pushes not yet settled a
    new attempt. Without this, a batch with one bad address would start over for ever under a tight limit.
    """
    outcomes: list[Outcome] = []
    waiting = [list(pushes)]
    while waiting:
        part = waiting.pop()
        try:
            settled = await attempt(part)
        except Withheld:
            raise
        except CallFailed as failure:
            if not outcomes:
                raise
            wish = failure.retry_after if isinstance(failure, Throttled) else None
            unsettled = len(pushes) - len(outcomes)
            return [*outcomes, *[TryAgain(reason=failure.reason, after_seconds=wish)] * unsettled]
        if not isinstance(settled, Refused | TryAgain):
            outcomes.extend(settled)
        elif len(part) == 1:
            outcomes.append(settled)
        else:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
    return outcomes
