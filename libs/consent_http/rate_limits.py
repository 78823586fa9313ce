"""How many requests an API key and its tenant may send to one process, by budget (R45). Pure, but for the clock.

Each budget is its own: an import, or reading, at the full rate leaves that of live decisions untouched.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.rates import Rates

BURST_SECONDS = 10.0
"""A caller that was quiet may send at once what it may send in so many seconds."""

_ROUNDING = 1e-6


class RateLimits:
    """For one thread. It remembers callers that have a key, and so holds little."""

    def __init__(self, rates: Mapping[str, Rates], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`rates` by budget; one without is not limited."""
        self._rates = rates
        self._clock = clock
        self._paid_until: dict[tuple[str, str, str], float] = {}
        """When what was taken will have been paid for, by budget, and by whose it is."""

    def admit(self, budget: str, caller: Caller, cost: float = 1.0) -> None:
        """Take `cost` units, or raise a ProblemError with status 429 and take none."""
        now = self._clock()
        for whose, name, rate in self._limited(budget, caller):
            taken_seconds = max(self._paid_until.get((budget, whose, name), 0.0) - now, 0.0)
            excess = taken_seconds + cost / rate - max(BURST_SECONDS, cost / rate)
            if excess > _ROUNDING:
                raise _too_many(budget, whose, excess)
        self.charge(budget, caller, cost)

    def admit_any(self, budgets: Sequence[str], caller: Caller, cost: float) -> None:
        """As `admit`, from the first of these budgets that has room."""
        for budget in budgets[:-1]:
            with suppress(ProblemError):
                self.admit(budget, caller, cost)
                return
        self.admit(budgets[-1], caller, cost)

    def charge(self, budget: str, caller: Caller, cost: float) -> None:
        """Take what a request costs beyond what it was admitted for. Who takes too many waits before the next."""
        now = self._clock()
        for whose, name, rate in self._limited(budget, caller):
            account = budget, whose, name
            self._paid_until[account] = max(self._paid_until.get(account, 0.0), now) + cost / rate

    def _limited(self, budget: str, caller: Caller) -> Iterator[tuple[str, str, float]]:
        rates = self._rates.get(budget)
        if rates is not None and rates.per_key:
            yield "caller", f"{caller.tenant} {caller.who}", rates.per_key
        if rates is not None and rates.per_tenant:
            yield "tenant", caller.tenant, rates.per_tenant


class ConcurrencyLimit:
    """How many requests of a tenant are held at once, each with its body. For one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, caller: Caller) -> Iterator[None]:
        """While a request is read and answered. Raises a ProblemError with status 429."""
        if self._held[caller.tenant] >= self._most:
            raise ProblemError(
                429,
                "too-many-at-once",
                f"This tenant has {self._most} such requests under way. This one is not carried out.",
                cure="Send it again after Retry-After seconds, with the same Idempotency-Key if it has one.",
                headers={"Retry-After": "1"},
            )
        self._held[caller.tenant] += 1
        try:
            yield
        finally:
            self._held[caller.tenant] -= 1


def _too_many(budget: str, whose: str, seconds: float) -> ProblemError:
    return ProblemError(
        429,
        "rate-limited",
        f"This {whose} sends more than it may ({budget}). This request is not carried out.",
        field="Authorization",
        cure="Send it again after Retry-After seconds, with the same Idempotency-Key if it has one.",
        headers={"Retry-After": str(math.ceil(seconds))},
    )
