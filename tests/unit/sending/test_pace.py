"""The rate limiter, the circuit breaker, the throttle, the backoff and the quarantine, each by itself."""

import asyncio
import random

import pytest

from propagator.desired.model import PERMIT, SUPPRESS
from propagator.sending.backoff import FAILURES_UNTIL_A_MINUTE, address_backoff
from propagator.sending.circuit_breaker import CircuitBreaker
from propagator.sending.rate_limiter import RateLimiter
from propagator.sending.target_quarantine import TargetQuarantine
from propagator.sending.throttle import Throttle
from propagator.timing import BACKOFF_SECONDS
from tests.support.virtual_time import virtually


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def rng() -> random.Random:
    return random.Random(1)


def test_the_bucket_holds_at_least_two_and_bulk_leaves_one() -> None:
    clock = Clock()
    limiter = RateLimiter(per_second=1.0, burst=1, clock=clock)
    assert limiter.seconds_until_call(live=False) == 0.0
    limiter.take(live=False)
    assert limiter.seconds_until_call(live=False) == pytest.approx(1.0)
    assert limiter.seconds_until_call(live=True) == 0.0
    limiter.take(live=True)
    assert limiter.seconds_until_call(live=True) == pytest.approx(1.0)


def test_the_tenth_request_of_bulk_may_take_the_last_token() -> None:
    clock = Clock()
    limiter = RateLimiter(per_second=1.0, burst=2, clock=clock)
    for _ in range(9):
        assert not limiter.bulk_is_due
        clock.now += 1.0
        limiter.take(live=True)
    assert limiter.bulk_is_due
    clock.now += 0.5
    limiter.take(live=True)
    limiter.take(live=True)
    clock.now += 1.0
    assert limiter.seconds_until_call(live=False) == pytest.approx(limiter.seconds_until_call(live=True))


def test_never_more_requests_than_the_limit_by_any_caller() -> None:
    async def scenario() -> None:
        clock = asyncio.get_running_loop().time
        times: list[float] = []
        limiter = RateLimiter(per_second=5.0, burst=5, clock=clock, on_request=lambda: times.append(clock()))

        async def call(live: bool) -> None:
            budget = limiter.budget(live=live)
            for _ in range(20):
                await budget.spend()

        await asyncio.gather(*(call(number % 2 == 0) for number in range(6)))
        for start in range(60):
            assert sum(start <= each < start + 1 for each in times) <= 5 + 5
        assert clock() == pytest.approx((120 - 5) / 5, abs=1.5)

    virtually(scenario())


def test_a_live_call_under_way_gets_its_further_requests_before_new_calls_start() -> None:
    async def scenario() -> None:
        limiter = RateLimiter(per_second=1.0, burst=2, clock=asyncio.get_running_loop().time)
        limiter.take(live=True)
        limiter.take(live=True)
        spending = asyncio.create_task(limiter.acquire(live=True))
        await asyncio.sleep(0)
        assert limiter.seconds_until_call(live=True) == pytest.approx(2.0)
        await spending
        assert limiter.seconds_until_call(live=True) == pytest.approx(1.0)

    virtually(scenario())


def test_the_first_request_of_a_call_is_prepaid() -> None:
    async def scenario() -> None:
        taken: list[None] = []
        limiter = RateLimiter(
            per_second=1.0, burst=2, clock=asyncio.get_running_loop().time, on_request=lambda: taken.append(None)
        )
        limiter.take(live=True)
        budget = limiter.budget(live=True, prepaid=1)
        await budget.spend()
        assert len(taken) == 1
        await budget.spend()
        assert len(taken) == 2

    virtually(scenario())


def test_the_breaker_opens_after_four_failures_and_any_acceptance_closes_it() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock, rng=rng())
    for failures in range(1, 5):
        assert not breaker.is_open
        breaker.record_failure(clock.now)
        assert breaker.failures == failures
        clock.now += 2.0
    assert breaker.is_open
    assert breaker.seconds_until_permitted(1) is None, "half open: one call at a time"
    assert breaker.record_success()
    assert not breaker.is_open
    assert breaker.outages == 1
    assert breaker.seconds_until_permitted(3) == 0.0


def test_probes_of_an_outage_are_never_more_than_15_seconds_apart() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock, rng=rng())
    while clock.now < 3_600:
        breaker.record_failure(clock.now)
        wait = breaker.seconds_until_permitted(0)
        assert wait is not None
        assert wait <= (1.5 if clock.now < 60 else 15.0)
        clock.now += max(wait, 0.01)


def test_failures_of_calls_that_started_together_count_once() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock, rng=rng())
    clock.now = 10.0
    breaker.record_failure(5.0)
    breaker.record_failure(5.0)
    assert breaker.failures == 1


def test_a_new_push_is_tried_early_unless_a_person_has_to_act() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock, rng=rng())
    breaker.force_open(0.0, 30.0, early_probe=True)
    breaker.allow_early_probe()
    assert breaker.seconds_until_permitted(1) == pytest.approx(1.0)
    breaker.force_open(0.0, 30.0)
    breaker.allow_early_probe()
    assert breaker.seconds_until_permitted(0) == pytest.approx(30.0)


def test_a_throttled_destination_gets_a_revocation_a_minute_and_no_permission() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock, rng=rng())
    assert throttle.record_throttled(600.0) == 600.0
    assert throttle.seconds_until_permitted(PERMIT) == 600.0
    assert throttle.seconds_until_permitted(SUPPRESS) == 60.0
    clock.now = 60.0
    throttle.record_started()
    assert throttle.seconds_until_permitted(SUPPRESS) == 60.0
    throttle.record_answered(60.0)
    assert throttle.seconds_until_permitted(PERMIT) == 0.0


@pytest.mark.parametrize("wish", [None, 0.0, -5.0, 0.001, 1.0])
def test_a_wish_never_makes_it_faster_than_its_own_schedule(wish: float | None) -> None:
    clock = Clock()
    throttle = Throttle(clock=clock, rng=rng())
    calls = 0
    while clock.now < 600.0:
        calls += 1
        clock.now += max(throttle.record_throttled(wish), throttle.seconds_until_permitted(PERMIT), 1e-6)
    assert calls < 60


def test_an_answer_to_a_call_before_the_throttling_does_not_end_the_wait() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock, rng=rng())
    clock.now = 10.0
    throttle.record_throttled(100.0)
    throttle.record_answered(9.0)
    assert throttle.seconds_until_permitted(PERMIT) == 100.0


def test_the_backoff_is_front_loaded_and_ends_at_an_hour() -> None:
    for failures in range(1, 40):
        step = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
        for _ in range(50):
            seconds = address_backoff(failures, random.Random())
            assert seconds <= step
            if failures >= FAILURES_UNTIL_A_MINUTE:
                assert seconds >= step / 2
    assert address_backoff(1, rng()) == 0.0
    assert sum(BACKOFF_SECONDS[:4]) < 2.0


def test_a_quarantined_target_is_tried_by_one_push_once_the_tool_knows_it() -> None:
    clock = Clock()
    quarantine = TargetQuarantine("tool", clock=clock)
    quarantine.quarantine({"t1": "correct it", "t2": "correct it"})
    assert quarantine.closed_targets("suppress") == {"t1", "t2"}
    assert not quarantine.check_is_due()
    clock.now = 30.0
    assert quarantine.check_is_due()
    assert not quarantine.check_is_due()
    assert quarantine.checked(["t2"])
    assert quarantine.closed_targets("suppress") == {"t2"}
    quarantine.started("t1", "suppress")
    assert quarantine.is_closed("t1", "suppress")
    quarantine.ended_without_answer("t1", "suppress")
    assert not quarantine.is_closed("t1", "suppress")
    assert quarantine.release("t1", "suppress")
    assert not quarantine.release("t1", "suppress")
    assert len(quarantine) == 1
