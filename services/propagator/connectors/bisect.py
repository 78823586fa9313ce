"""Find the one push that spoils a call, where a provider takes a whole call or nothing of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from propagator.connectors.base import Outcome, Push, Refused, Retryable
from propagator.errors import CallFailedError, ThrottledError

BatchRefused = Refused | Retryable
"""The provider refused a call as a whole for its content or size: what that means for a push that is in it alone."""

Attempt = Callable[[Sequence[Push]], Awaitable[Sequence[Outcome] | BatchRefused]]
"""Makes one call with these pushes."""


async def bisect_batch(pushes: Sequence[Push], attempt: Attempt) -> Sequence[Outcome]:
    """One outcome for each push, in order; a refused call is halved down to single pushes.

    Once the provider has answered for some of the pushes, a later call that fails costs only the others a new attempt.
    Without this, a batch with one invalid address would start from the beginning for ever under a tight limit, and
    pushes that were executed before the guard refused would count as not sent. A refusal that meets every push is
    returned as such, each of them Refused: what it means for the destination is the dispatcher's decision.
    """
    outcomes: list[Outcome] = []
    waiting = [list(pushes)]
    while waiting:
        part = waiting.pop()
        try:
            answered = await attempt(part)
        except CallFailedError as failure:
            if not outcomes:
                raise
            throttled = isinstance(failure, ThrottledError)
            wish = failure.retry_after if isinstance(failure, ThrottledError) else None
            rest = Retryable(reason=failure.reason, after_seconds=wish, call_failed=True, throttled=throttled)
            return [*outcomes, *[rest] * (len(pushes) - len(outcomes))]
        if not isinstance(answered, Refused | Retryable):
            outcomes.extend(answered)
        elif len(part) == 1:
            outcomes.append(answered)
        else:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
    return outcomes
