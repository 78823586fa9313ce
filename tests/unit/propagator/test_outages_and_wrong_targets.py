"""What holds up whom: a destination that is away, a target that is wrong, an address that is odd. In virtual time."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from propagator.connector import PERMIT, SUPPRESS, Accepted, Outcome, Push, TryAgain
from propagator.errors import DestinationDown, Misconfigured, Throttled, WrongTargets
from tests.unit.propagator.harness import (
    SECOND,
    Durable,
    Provider,
    Worker,
    decision,
    destination,
    until,
    virtually,
    wall,
)

GONE = WrongTargets("group", {"s": "group s does not exist"})


def verified(worker: Worker) -> float:
    value: float = worker.metrics.verified.labels("fake-fr")._value.get()
    return value


async def refuse_survey(pushes: Sequence[Push], _provider: Provider) -> None:
    if pushes[0].target == "s":
        raise GONE


def test_one_unknown_group_holds_up_nobody_else(caplog: pytest.LogCaptureFixture) -> None:  # R1
    async def story() -> None:
        durable, provider = Durable(), Provider(behave=refuse_survey)
        worker = await Worker(durable, provider).start()
        bad = durable.decide(0, decision("s0", purpose="survey"))
        await asyncio.sleep(2)
        for number in range(1, 21):
            before = wall()
            key = durable.decide(number, decision(f"d{number}"))
            await until(lambda key=key: (key, "n") in provider.state)  # type: ignore[misc]
            assert wall() - before < SECOND
            await asyncio.sleep(3)
        assert verified(worker) == 0
        assert not worker.dispatcher.paused
        assert len([call for call in provider.calls if call[0].target == "s"]) <= 4, "tried slowly"
        assert "failed" in durable.stages(bad)
        provider.behave = None
        await asyncio.sleep(31)
        assert provider.state[bad, "s"] == SUPPRESS
        assert verified(worker) == 1
        assert not durable.parked

    with caplog.at_level(logging.ERROR):
        virtually(story())
    refused = [record for record in caplog.records if "target refused" in record.message]
    assert refused
    assert all(vars(record)["target"] == "s" for record in refused)


def test_a_group_that_is_wrong_at_start_waits_alone() -> None:  # R1
    async def story() -> None:
        durable = Durable()
        provider = Provider(behave=refuse_survey, verify_errors=[GONE, GONE])
        bad = durable.decide(0, decision("s0", purpose="survey"))
        good = durable.decide(1, decision("d1"))
        worker = await Worker(durable, provider).start()
        await asyncio.sleep(1)
        assert provider.state == {(good, "n"): SUPPRESS}
        assert verified(worker) == 0
        provider.behave = None
        await asyncio.sleep(31)
        assert verified(worker) == 0, "the tool still says that it does not know the group"
        await asyncio.sleep(31)
        assert provider.state[bad, "s"] == SUPPRESS
        assert verified(worker) == 1

    virtually(story())


def test_what_waits_for_a_wrong_target_keeps_no_chunk_and_outlives_the_worker() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(behave=refuse_survey)
        worker = await Worker(durable, provider, max_outstanding=50).start()
        bad = [durable.decide(number, decision(f"s{number}", purpose="survey")) for number in range(90)]
        good = durable.decide(95, decision("d95"))
        await until(lambda: (good, "n") in provider.state, 10)
        await until(lambda: durable.committed == 91, 10)
        assert set(durable.parked) == set(bad)
        before = worker.metrics.pushes.labels("fake-fr", SUPPRESS, "parked")._value.get()
        calls = len(provider.calls)
        await asyncio.sleep(300)
        assert len(provider.calls) - calls <= 11, "one try each time the target is checked"
        assert worker.metrics.pushes.labels("fake-fr", SUPPRESS, "parked")._value.get() == before
        await worker.crash()
        provider.behave = None
        await Worker(durable, provider).start()
        await until(lambda: not durable.parked, 120)
        assert all(provider.state[key, "s"] == SUPPRESS for key in bad)

    virtually(story())


def test_what_has_waited_for_a_target_goes_in_full_batches_once_it_is_mended() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(behave=refuse_survey)
        await Worker(durable, provider, destination(per_second=2, batch=25)).start()
        for number in range(75):
            durable.decide(number, decision(f"s{number}", purpose="survey"))
        await asyncio.sleep(20)
        provider.behave = None
        before = len(provider.calls)
        await until(lambda: not durable.parked, 40)
        assert len(provider.calls) - before <= 8

    virtually(story())


def test_a_sender_that_is_wrong_in_a_mixed_call_waits_alone() -> None:
    async def story() -> None:
        durable = Durable()

        async def behave(pushes: Sequence[Push], provider: Provider) -> Sequence[Outcome]:
            provider.apply([push for push in pushes if push.target == "n"])
            return [
                Accepted() if push.target == "n" else TryAgain(reason="sender", wrong_target=True) for push in pushes
            ]

        provider = Provider(behave=behave)
        await Worker(durable, provider, destination(mixed=True)).start()
        for number in range(30):
            durable.decide(number, decision(f"s{number}", purpose="survey"), decision(f"n{number}"))
        await asyncio.sleep(20)
        assert len(provider.state) == 30
        assert sum(push.target == "s" for call in provider.calls for push in call) <= 30
        provider.behave = None
        await until(lambda: not durable.parked, 60)
        assert len(provider.state) == 60

    virtually(story())


def test_wrong_credentials_concern_every_target() -> None:
    async def story() -> None:
        durable = Durable()

        async def behave(_pushes: Sequence[Push], _provider: Provider) -> None:
            raise Misconfigured("credentials", "401")

        provider = Provider(behave=behave)
        worker = await Worker(durable, provider).start()
        durable.decide(0, decision("s0", purpose="survey"))
        await asyncio.sleep(2)
        durable.decide(1, decision("d1"))
        await asyncio.sleep(20)
        assert len(provider.calls) == 1
        assert worker.metrics.breaker_open.labels("fake-fr")._value.get() == 1
        assert not durable.parked

    virtually(story())


@pytest.mark.parametrize("seed", range(5))
def test_an_outage_of_five_seconds_costs_little_more_than_five_seconds(seed: int) -> None:  # R2
    """As SendGrid: 9.5 calls a second, 1,000 a call; 100 decisions a second come all the while."""

    async def story() -> None:
        durable = Durable()
        down = False
        done: dict[tuple[str, ...], int] = {}

        async def behave(_pushes: Sequence[Push], _provider: Provider) -> None:
            if down:
                raise DestinationDown("cut")

        provider = Provider(behave=behave, on_apply=lambda push: done.update({push.decision_ids: wall()}))
        where = destination(per_second=9.5, burst=20, batch=1000, push_permissions=False)
        await Worker(durable, provider, where, seed=seed, chunk=500, max_outstanding=5000).start()
        begun: dict[tuple[str, ...], int] = {}
        for at in range(150):
            down = 50 <= at < 100
            for number in range(10):
                begun[(f"d{at}.{number}",)] = wall()
                durable.decide((at * 10 + number) % 97, decision(f"d{at}.{number}"))
            await asyncio.sleep(0.1)
        await until(lambda: durable.committed == 1500, 20)
        took = sorted((done[each] - begun[each]) / SECOND for each in done)
        assert took[-1] < 7.0
        assert not durable.parked

    virtually(story())


@pytest.mark.parametrize("seed", range(5))
def test_the_backlog_of_an_outage_is_drained_soon_after_it(seed: int) -> None:  # R2
    async def story() -> None:
        durable, down = Durable(), True

        async def behave(pushes: Sequence[Push], _provider: Provider) -> Sequence[Outcome] | None:
            if down:
                raise DestinationDown("http_503")
            return None

        provider = Provider(behave=behave)
        await Worker(durable, provider, seed=seed, chunk=100, max_outstanding=5000).start()
        for number in range(99):
            durable.decide(number, decision(f"d{number}"))
            await asyncio.sleep(0.2)
        await asyncio.sleep(30)
        down = False
        before = wall()
        await until(lambda: len(provider.state) == 99)
        assert wall() - before < 5 * SECOND

    virtually(story())


def test_a_lone_odd_address_is_tried_within_bounds_and_holds_a_fresh_one_up_for_a_second() -> None:
    async def story() -> None:
        durable = Durable()

        async def behave(pushes: Sequence[Push], _provider: Provider) -> None:
            if any(push.address.endswith("07") for push in pushes):
                await asyncio.sleep(15)
                raise DestinationDown("timeout")

        provider = Provider(behave=behave)
        await Worker(durable, provider).start()
        durable.decide(7, decision("d0"))
        await asyncio.sleep(600)
        assert len(provider.calls) < 600 / 15 + 2
        for number in range(5):
            before = wall()
            key = durable.decide(number, decision(f"d1{number}"))
            await until(lambda key=key: (key, "n") in provider.state)  # type: ignore[misc]
            assert wall() - before < 1.2 * SECOND
            await asyncio.sleep(5)

    virtually(story())


def test_a_long_wish_to_be_left_alone_does_not_keep_a_revocation_for_an_hour() -> None:  # R1
    async def story() -> None:
        durable = Durable()
        answers = [Throttled("429", retry_after=3600.0)] * 3

        async def behave(_pushes: Sequence[Push], _provider: Provider) -> None:
            if answers:
                raise answers.pop()

        provider = Provider(behave=behave)
        await Worker(durable, provider).start()
        durable.decide(1, decision("d1"))
        await asyncio.sleep(1)
        durable.decide(2, decision("g2", "given", at=wall() - 10 * SECOND))
        await until(lambda: bool(provider.applied), 200)
        assert provider.applied[0].action == SUPPRESS
        assert 170 * SECOND < wall() - 1_700_000_000 * SECOND < 190 * SECOND
        assert [call[0].action for call in provider.calls] == [SUPPRESS] * 4
        await until(lambda: provider.applied[-1].action == PERMIT, 10)

    virtually(story())
