"""How many requests an API key and its tenant may send to one process, by budget (R45). Pure, but for the clock.

Each budget is its own: an import, or reading, at the full rate leaves that of live decisions untouched.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.rates import Rates
from consent_service.zero_series import from_zero

BURST_SECONDS = 10.0
"""A caller that was quiet may send at once what it may send in so many seconds."""

_ROUNDING = 1e-6
_LIMITS = ("caller", "tenant")


@dataclass(frozen=True, kw_only=True, slots=True)
class RateMetrics:
    """By tenant, so that an operator sees which one comes near a limit before it meets it. ``limit``: the caller's or
    the tenant's."""

    units: Counter
    limited: Counter

    @classmethod
    def on(
        cls, registry: CollectorRegistry, *, tenants: Collection[str] = (), budgets: Collection[str] = ()
    ) -> RateMetrics:
        metrics = cls(
            units=Counter(
                "consent_relay_rate_units",
                "Units that a tenant has taken of a budget at this process. API: live (requests with one decision or"
                " links), live_batches and bulk (decisions in batches), read (questions). Gate: requests, addresses."
                " Compare its rate with the tenant's limit in the settings.",
                ["tenant", "budget"],
                registry=registry,
            ),
            limited=Counter(
                "consent_relay_rate_limited",
                "Requests of a tenant that were answered 429, by budget, and by the limit that was met: caller (of one"
                " API key or client) or tenant (of all of them together). Nothing of them was carried out, and no other"
                " tenant's were delayed.",
                ["tenant", "budget", "limit"],
                registry=registry,
            ),
        )
        from_zero(metrics.units, tenants, budgets)
        from_zero(metrics.limited, tenants, budgets, _LIMITS)
        return metrics


class RateLimits:
    """For one thread. It remembers callers that have a key, and so holds little."""

    def __init__(
        self,
        rates: Mapping[str, Rates],
        *,
        metrics: RateMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rates` by budget; one without is not limited."""
        self._rates = rates
        self._metrics = metrics or RateMetrics.on(CollectorRegistry())
        self._clock = clock
        self._paid_until: dict[tuple[str, str, str], float] = {}
        """When what was taken will have been paid for, by budget, and by whose it is."""

    def admit(self, budget: str, caller: Caller, cost: float = 1.0) -> None:
        """Take `cost` units, or raise a ProblemError with status 429 and take none."""
        self.admit_any([budget], caller, cost)

    def admit_any(self, budgets: Sequence[str], caller: Caller, cost: float) -> None:
        """As `admit`, from the first of these budgets that has room."""
        for budget in budgets:
            met = self._limit_met(budget, caller, cost)
            if met is None:
                self.charge(budget, caller, cost)
                return
        assert met is not None
        whose, seconds = met
        self._metrics.limited.labels(caller.tenant, budget, whose).inc()
        raise _too_many(budget, whose, seconds)

    def _limit_met(self, budget: str, caller: Caller, cost: float) -> tuple[str, float] | None:
        """Whose limit leaves no room, and for how many seconds."""
        now = self._clock()
        for whose, name, rate in self._limited(budget, caller):
            taken_seconds = max(self._paid_until.get((budget, whose, name), 0.0) - now, 0.0)
            excess = taken_seconds + cost / rate - max(BURST_SECONDS, cost / rate)
            if excess > _ROUNDING:
                return whose, excess
        return None

    def charge(self, budget: str, caller: Caller, cost: float) -> None:
        """Take what a request costs beyond what it was admitted for. Who takes too many waits before the next."""
        now = self._clock()
        self._metrics.units.labels(caller.tenant, budget).inc(cost)
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
        self._held: defaultdict[str, int] = defaultdict(int)

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
