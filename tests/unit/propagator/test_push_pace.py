"""Pace in virtual time, and how much the dispatcher itself can do."""

import asyncio
import random
import time

from propagator.pace import Breaker, TokenBucket, delay
from tests.unit.propagator.harness import Durable, Provider, Worker, decision, destination, until, virtually


def test_retries_are_front_loaded_with_full_jitter() -> None:
    rng = random.Random(1)
    schedule = (0.0, 0.25, 0.5, 60.0)
    assert delay(schedule, 1, rng) == 0.0
    assert all(0 <= delay(schedule, 2, rng) <= 0.25 for _ in range(50))
    late = [delay(schedule, 99, rng) for _ in range(200)]
    assert max(late) <= 60.0
    assert max(late) - min(late) > 30


def test_the_bucket_keeps_the_rate() -> None:
    now = 0.0
    bucket = TokenBucket(per_second=2, burst=3, clock=lambda: now)
    for _ in range(3):
        assert bucket.wait() == 0.0
        bucket.take()
    assert 0.49 < bucket.wait() <= 0.5
    now = 0.5
    assert bucket.wait() == 0.0
    assert not bucket.plentiful


def test_the_breaker_opens_probes_alone_and_closes_on_success() -> None:
    now = 0.0
    breaker = Breaker(clock=lambda: now, rng=random.Random(3))
    for _ in range(4):
        breaker.failure(started_at=now)
        now += 20
    assert breaker.open
    assert breaker.wait(in_flight=1) is None
    assert breaker.wait(in_flight=0) == 0.0
    breaker.failure(started_at=0.0)
    assert breaker.failures == 4, "a call that began before the last failure tells nothing new"
    breaker.nudge()
    assert breaker.wait(in_flight=1) == 0.0, "one more goes for what is new"
    assert breaker.wait(in_flight=2) is None
    assert breaker.success()
    assert (breaker.open, breaker.outages) == (False, 1)


def test_a_destination_that_is_down_is_probed_often_at_first_and_never_rarely() -> None:
    now = 0.0
    breaker = Breaker(clock=lambda: now, rng=random.Random(5))
    waits = []
    while now < 600:
        breaker.failure(started_at=now)
        wait = breaker.wait(in_flight=0)
        assert wait is not None
        waits.append((now, wait))
        now += wait + 0.01
    assert max(wait for at, wait in waits if at < 60) <= 1.5
    assert 5 < max(wait for _, wait in waits) <= 15
    assert len([at for at, _ in waits if at < 60]) < 120


def test_a_rate_limit_is_kept_and_batches_fill_up_under_it() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        where = destination(per_second=5, batch=25)
        for number in range(100):
            durable.decide(number, decision(f"d{number}"))
        await Worker(durable, provider, where, chunk=100).start()
        await until(lambda: durable.committed == 100)
        assert len(provider.calls) == 4
        begun = asyncio.get_running_loop().time()
        for at in range(100):
            durable.decide(at, decision(f"e{at}"))
            await asyncio.sleep(0.1)
        await until(lambda: durable.committed == 200)
        calls = len(provider.calls) - 4
        assert calls <= 5 * (asyncio.get_running_loop().time() - begun) + 11

    virtually(story())


def test_the_dispatcher_keeps_up_with_a_fast_destination() -> None:
    """Real time: entries decoded, pushed, proved and acknowledged; 2,000 a second are wanted on a quiet core."""

    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=0.001)
        where = destination(per_second=100_000, batch=100, concurrency=8)
        numbers = 3000
        for number in range(numbers):
            durable.decide(number, decision(f"d{number}", at=1_700_000_000_000_000))
        begun = time.process_time()
        await Worker(durable, provider, where, chunk=500, max_outstanding=5000).start()
        await until(lambda: durable.committed == numbers)
        rate = numbers / (time.process_time() - begun)
        print(f"{rate:,.0f} pushes a CPU second")
        assert rate > 1000  # Half of the target: the machine of a test run is shared.

    asyncio.run(story())


def test_at_idle_a_push_leaves_at_once() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=0.0)
        worker = await Worker(durable, provider).start()
        waits = []
        for number in range(30):
            durable.decide(number, decision(f"d{number}"))
            begun = asyncio.get_running_loop().time()
            await until(lambda number=number: len(provider.applied) == number + 1)  # type: ignore[misc]
            waits.append(asyncio.get_running_loop().time() - begun)
            await asyncio.sleep(1)
        assert sorted(waits)[15] <= 0.030  # Half of it is the harness's own polling.
        await worker.close()

    virtually(story())
