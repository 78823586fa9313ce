"""The rate limit of one account: a token bucket that every request pays into, shared by live and bulk.

It holds at least two tokens. Bulk leaves one in it for a live push that comes next; while bulk waits, each tenth
request is bulk's all the same, and may take the last token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

BULK_SHARE = 10
"""Bulk gets at least one of so many requests while it waits."""
_SPARE = 3.0
"""Bulk waits for two tokens, so that a bucket which holds no more never has one to spare."""
_ROUNDING = 1e-9


class RateLimiter:
    """`clock` gives monotonic seconds; `on_request` is called for each token that is taken."""

    def __init__(
        self,
        *,
        per_second: float,
        burst: int,
        clock: Callable[[], float],
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._per_second = per_second
        self._burst = float(max(burst, 2))
        self._clock = clock
        self._on_request = on_request
        self._tokens = self._burst
        self._refilled_at = clock()
        self.last_request_at = clock()
        self._live_since_bulk = 0
        self._live_spends_waiting = 0

    @property
    def bulk_is_due(self) -> bool:
        """Whether the next request is bulk's, if there is one."""
        return self._live_since_bulk >= BULK_SHARE - 1

    @property
    def has_spare_tokens(self) -> bool:
        """Whether a call may be spent on a batch that is not full: more tokens are left than bulk waits for."""
        self._refill()
        return self._tokens >= max(_SPARE, self._burst / 2)

    def seconds_until_call(self, *, live: bool) -> float:
        """Until a new call may start. Live calls that are under way and need a further request go first."""
        return self._seconds_until(1.0 + self._reserve(live) + self._live_spends_waiting)

    def take(self, *, live: bool) -> None:
        """Take one request's token, after `seconds_until_call` was 0."""
        self._refill()
        self._tokens -= 1.0
        self.last_request_at = self._clock()
        self._on_request()
        self._live_since_bulk = self._live_since_bulk + 1 if live else 0

    def budget(self, *, live: bool, prepaid: int = 0) -> RequestBudget:
        """For the requests of one call; `prepaid`: so many tokens of it are taken already."""
        return RequestBudget(self, live=live, prepaid=prepaid)

    async def acquire(self, *, live: bool) -> None:
        """Wait for a token and take it, inside a call that is under way."""
        if live:
            self._live_spends_waiting += 1
        try:
            # Tokens come with time alone, and another waiter may take them: there is no event to wait for.
            while (wait := self._seconds_until(1.0 + self._reserve(live))) > 0:  # noqa: ASYNC110
                await asyncio.sleep(wait)
        finally:
            if live:
                self._live_spends_waiting -= 1
        self.take(live=live)

    def _reserve(self, live: bool) -> float:
        return 0.0 if live or self.bulk_is_due else 1.0

    def _seconds_until(self, tokens: float) -> float:
        self._refill()
        missing = min(tokens, self._burst) - self._tokens
        return 0.0 if missing <= _ROUNDING else missing / self._per_second

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._per_second)
        self._refilled_at = now


class RequestBudget:
    """The CallBudget of one call of a connector."""

    def __init__(self, limiter: RateLimiter, *, live: bool, prepaid: int) -> None:
        self._limiter = limiter
        self._live = live
        self._prepaid = prepaid

    async def spend(self) -> None:
        """Wait for one request's share of the account's rate limit, and take it."""
        if self._prepaid:
            self._prepaid -= 1
        else:
            await self._limiter.acquire(live=self._live)
