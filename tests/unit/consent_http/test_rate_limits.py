"""An API key, and its tenant, take so many units a second; budgets are apart (R45)."""

import pytest
from prometheus_client import CollectorRegistry

from consent_http.api_keys import ApiKey
from consent_http.errors import ProblemError
from consent_http.rate_limits import BURST_SECONDS, ConcurrencyLimit, RateLimits, RateMetrics
from consent_http.rates import Rates


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def key(name: str = "k1", tenant: str = "acme") -> ApiKey:
    return ApiKey(id=name, digest="", tenant=tenant, scopes=frozenset())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> RateLimits:
    return RateLimits({"live": Rates(per_key=2, per_tenant=3), "bulk": Rates(per_key=2, per_tenant=0)}, clock=clock)


def admitted(limits: RateLimits, budget: str, caller: ApiKey, *, of: int = 1_000) -> int:
    for count in range(of):
        try:
            limits.admit(budget, caller)
        except ProblemError:
            return count
    return of


def test_a_key_has_its_rate_and_a_burst(limits: RateLimits, clock: Clock) -> None:
    assert admitted(limits, "live", key()) == 2 * BURST_SECONDS
    clock.now += 5
    assert admitted(limits, "live", key()) == 2 * 5
    clock.now += 1_000_000
    assert admitted(limits, "live", key()) == 2 * BURST_SECONDS


def test_retry_after_is_when_there_is_room(limits: RateLimits, clock: Clock) -> None:
    admitted(limits, "live", key())
    with pytest.raises(ProblemError) as caught:
        limits.admit("live", key())
    assert caught.value.status == 429
    assert int(caught.value.headers["Retry-After"]) >= 1
    clock.now += int(caught.value.headers["Retry-After"])
    limits.admit("live", key())


def test_a_tenant_has_its_rate_over_all_of_its_keys(limits: RateLimits) -> None:
    assert admitted(limits, "live", key("k1")) == 2 * BURST_SECONDS
    assert admitted(limits, "live", key("k2")) == 1 * BURST_SECONDS
    assert admitted(limits, "live", key("k3")) == 0
    assert admitted(limits, "live", key("k4", "other")) == 2 * BURST_SECONDS


def test_a_budget_that_is_used_up_leaves_the_others(limits: RateLimits) -> None:
    assert admitted(limits, "bulk", key()) == 2 * BURST_SECONDS
    assert admitted(limits, "live", key()) == 2 * BURST_SECONDS
    assert admitted(limits, "read", key()) == 1_000


def test_a_large_request_is_admitted_and_paid_for_afterwards(limits: RateLimits, clock: Clock) -> None:
    limits.admit("bulk", key())
    limits.charge("bulk", key(), 200)
    assert admitted(limits, "bulk", key()) == 0
    clock.now += 90
    assert admitted(limits, "bulk", key()) == 0
    clock.now += 2
    assert admitted(limits, "bulk", key()) > 0


def test_one_of_several_budgets_is_enough(limits: RateLimits) -> None:
    assert admitted(limits, "live", key()) > 0
    limits.admit_any(["live", "bulk"], key(), 1.0)
    assert admitted(limits, "bulk", key()) == 2 * BURST_SECONDS - 1
    with pytest.raises(ProblemError, match="rate-limited"):
        limits.admit_any(["live", "bulk"], key(), 1.0)


def test_what_a_tenant_takes_and_what_it_is_refused_are_counted(clock: Clock) -> None:
    registry = CollectorRegistry()
    rates = {"live": Rates(per_key=2, per_tenant=3), "bulk": Rates(per_key=0, per_tenant=1)}
    limits = RateLimits(rates, metrics=RateMetrics.on(registry), clock=clock)

    def counted(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"consent_relay_rate_{name}_total", labels) or 0.0

    for name in ("k1", "k2"):
        admitted(limits, "live", key(name))
    limits.charge("bulk", key(), 10)
    limits.admit_any(["live"], key("k4", "globex"), 1.0)
    with pytest.raises(ProblemError):
        limits.admit_any(["live", "bulk"], key(), 1.0)
    assert counted("units", tenant="acme", budget="live") == 3 * BURST_SECONDS
    assert counted("units", tenant="acme", budget="bulk") == 10
    assert counted("units", tenant="globex", budget="live") == 1
    assert counted("limited", tenant="acme", budget="live", limit="caller") == 1
    assert counted("limited", tenant="acme", budget="live", limit="tenant") == 1
    assert counted("limited", tenant="acme", budget="bulk", limit="tenant") == 1
    assert counted("limited", tenant="globex", budget="live", limit="tenant") == 0


def test_a_slow_rate_admits_one(clock: Clock) -> None:
    limits = RateLimits({"live": Rates(per_key=0.01, per_tenant=0)}, clock=clock)
    assert admitted(limits, "live", key()) == 1
    clock.now += 100
    assert admitted(limits, "live", key()) == 1


def test_a_tenant_has_so_many_requests_under_way() -> None:
    at_once = ConcurrencyLimit(2)
    with at_once.held(key("k1")), at_once.held(key("k2")):
        with pytest.raises(ProblemError, match="too-many-at-once"), at_once.held(key("k3")):
            pass
        with at_once.held(key("k4", "other")):
            pass
    with at_once.held(key("k3")), pytest.raises(ZeroDivisionError), at_once.held(key("k3")):
        raise ZeroDivisionError
    with at_once.held(key("k3")), at_once.held(key("k3")):
        pass
