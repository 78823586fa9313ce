"""Find the pushes that spoil a call, where a provider takes a whole call or nothing of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from propagator.connectors.base import Accepted, Outcome, Push, Refused, Retryable
from propagator.errors import CallFailedError, ThrottledError

BatchRefused = Refused | Retryable
"""The provider refused a call as a whole for its content or size: what that means for a push that is in it alone."""

Attempt = Callable[[Sequence[Push]], Awaitable[Sequence[Outcome] | BatchRefused]]
"""Makes one call with these pushes."""


async def bisect_batch(pushes: Sequence[Push], attempt: Attempt) -> Sequence[Outcome]:
    """One outcome for each push, in order; a refused call is halved down to single pushes.

    Where the provider has accepted nothing of the call and refuses two single pushes alike, it ends: the refusal is
    returned for each push that has no outcome yet. What it means for the destination is the dispatcher's decision.

    Once the provider has answered for some of the pushes, a later call that fails costs only the others a new attempt.
    Without this, a batch with one invalid address would start from the beginning for ever under a tight limit, and
    pushes that were executed before the guard refused would count as not sent.
    """
    outcomes: dict[int, Outcome] = {}
    refusals: list[BatchRefused] = []
    waiting = [range(len(pushes))]
    while waiting:
        part = waiting.pop()
        try:
            answered = await attempt([pushes[each] for each in part])
        except CallFailedError as failure:
            if not outcomes:
                raise
            return _completed(pushes, outcomes, _unanswered(failure))
        if not isinstance(answered, Refused | Retryable):
            outcomes |= zip(part, answered, strict=True)
        elif len(part) == 1:
            refusal = answered
            if isinstance(refusal, Retryable):
                refusal = replace(refusal, refused=len(pushes) > 1)
            outcomes[part[0]] = refusal
            if not any(isinstance(each, Accepted) for each in outcomes.values()):
                if refusal in refusals:
                    return _completed(pushes, outcomes, refusal)
                refusals.append(refusal)
                # The next one is looked for far from it: neighbours may both be invalid, and the others not.
                waiting.sort(key=len)
        else:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
    return [outcomes[each] for each in range(len(pushes))]


def _completed(pushes: Sequence[Push], outcomes: dict[int, Outcome], rest: Outcome) -> list[Outcome]:
    return [outcomes.get(each, rest) for each in range(len(pushes))]


def _unanswered(failure: CallFailedError) -> Retryable:
    return Retryable(
        reason=failure.reason,
        after_seconds=failure.retry_after if isinstance(failure, ThrottledError) else None,
        call_failed=True,
        throttled=isinstance(failure, ThrottledError),
    )
