"""A "yes" that the tool carries out after the "no" that replaced it. In virtual time; the call's timeout is 15 s."""

import asyncio
from collections.abc import Sequence

import pytest

from propagator.connector import PERMIT, SUPPRESS, Outcome, Push, TryAgain
from propagator.errors import DestinationDown
from tests.unit.propagator.harness import (
    SECOND,
    Durable,
    Provider,
    Worker,
    decision,
    until,
    virtually,
    wall,
)


class Slow(Provider):
    """Carries a "yes" out `late` seconds after it was asked, and does not answer it; once, or each time."""

    def __init__(self, late: float, *, times: int = 1, reason: str = "timeout") -> None:
        super().__init__(seconds=0.1, behave=self._slowly)
        self._late = late
        self._times = times
        self._reason = reason
        self.said_late = 0

    async def _slowly(self, pushes: Sequence[Push], _provider: Provider) -> Sequence[Outcome] | None:
        if pushes[0].action == SUPPRESS or not self._times:
            return None
        self._times -= 1
        self.said_late += 1
        asyncio.get_running_loop().call_later(self._late, self.apply, list(pushes))
        if self._reason == "unanswered":
            return [TryAgain(reason="unanswered") for _ in pushes]
        raise DestinationDown(self._reason)


@pytest.mark.parametrize("reason", ["timeout", "cut", "malformed", "http_504", "unanswered"])
def test_a_no_is_told_again_when_the_yes_before_it_may_have_landed_late(reason: str) -> None:
    async def story() -> None:
        durable, provider = Durable(), Slow(20.0, reason=reason, times=99)
        worker = await Worker(durable, provider).start()
        await asyncio.sleep(60)  # nothing of a predecessor can be under way any more
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: provider.said_late == 1)
        durable.decide(1, decision("w1"))
        await until(lambda: durable.committed == 2, 5)
        assert durable.stages(key)[-2:] == ["accepted", "effective"]
        assert set(durable.parked) == {key}, "and a successor would know"
        untold, parked = worker.feed.watch()
        assert (untold, parked) == (None, 0), "it is told; it is not one that fails"
        await asyncio.sleep(25)
        assert provider.state[key, "n"] == PERMIT, "the late yes"
        await asyncio.sleep(15)
        assert provider.state[key, "n"] == SUPPRESS
        refusals = [push for push in provider.applied if push.action == SUPPRESS]
        assert len({push.push_id for push in refusals}) == len(refusals) == 2
        assert not durable.parked
        assert durable.stages(key).count("effective") == 1
        await asyncio.sleep(600)
        assert len([push for push in provider.applied if push.action == SUPPRESS]) == 2
        assert not worker.bugs

    virtually(story())


def test_a_no_that_replaces_a_call_that_never_reached_the_tool_is_told_once() -> None:
    async def story() -> None:
        durable, down = Durable(), True

        async def behave(_pushes: Sequence[Push], _provider: Provider) -> None:
            if down:
                raise DestinationDown("unreachable")

        provider = Provider(behave=behave)
        await Worker(durable, provider).start()
        durable.decide(1, decision("g1", "given", at=wall() - 60 * SECOND))
        # Read long after the assignment: no predecessor can have begun it.
        await asyncio.sleep(60)
        durable.decide(1, decision("g2", "given", at=wall() - 60 * SECOND))
        await asyncio.sleep(5)
        durable.decide(1, decision("w1"))
        down = False
        await until(lambda: durable.committed == 3)
        await asyncio.sleep(120)
        assert [push.action for push in provider.applied] == [SUPPRESS]

    virtually(story())


def test_a_restart_between_the_no_and_its_repetition_does_not_forget_it() -> None:
    async def story() -> None:
        durable, provider = Durable(), Slow(28.0)
        worker = await Worker(durable, provider).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: provider.said_late == 1)
        durable.decide(1, decision("w1"))
        await until(lambda: durable.committed == 2, 5)
        await worker.crash()
        await Worker(durable, provider).start()
        await asyncio.sleep(120)
        assert provider.state[key, "n"] == SUPPRESS
        assert not durable.parked

    virtually(story())


def test_a_crash_before_the_no_is_told_leaves_both_to_the_next_owner() -> None:
    async def story() -> None:
        durable, provider = Durable(), Slow(10.0)
        worker = await Worker(durable, provider, chunk=1).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: provider.said_late == 1)
        provider.verify_errors = []
        provider.behave, slow = _never, provider.behave
        durable.decide(1, decision("w1"))
        await asyncio.sleep(0.5)
        await worker.crash()
        assert durable.committed == 0, "the yes is unacknowledged as long as the no is"
        provider.behave = slow
        await Worker(durable, provider, chunk=1).start()
        await until(lambda: provider.state.get((key, "n")) == SUPPRESS, 5)
        await asyncio.sleep(120)
        assert provider.state[key, "n"] == SUPPRESS
        assert durable.committed == 2

    virtually(story())


async def _never(_pushes: Sequence[Push], _provider: Provider) -> Sequence[Outcome]:
    await asyncio.sleep(3600)
    raise AssertionError


@pytest.mark.parametrize("gracefully", [True, False])
def test_a_yes_in_flight_when_the_partition_is_given_up_does_not_outlive_the_next_owners_no(gracefully: bool) -> None:
    async def story() -> None:
        durable = Durable()
        first = Provider(behave=_never)
        worker = await Worker(durable, first).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: bool(first.calls))
        second = Provider()
        asyncio.get_running_loop().call_later(20, second.apply, first.calls[0])
        await (worker.close() if gracefully else worker.crash())
        assert durable.committed == 0
        durable.decide(1, decision("w1"))
        await Worker(durable, second).start()
        await until(lambda: second.state.get((key, "n")) == SUPPRESS, 5)
        await until(lambda: second.state[key, "n"] == PERMIT, 25)
        await asyncio.sleep(60)
        assert second.state[key, "n"] == SUPPRESS
        assert not durable.parked

    virtually(story())


def test_a_change_of_another_purpose_does_not_make_the_repetition_forgotten() -> None:
    async def story() -> None:
        durable, provider = Durable(), Slow(20.0)
        await Worker(durable, provider).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: provider.said_late == 1)
        durable.decide(1, decision("w1"))
        await asyncio.sleep(5)
        durable.decide(1, decision("s1", purpose="survey"))
        await asyncio.sleep(120)
        assert provider.state == {(key, "n"): SUPPRESS, (key, "s"): SUPPRESS}
        assert not durable.parked

    virtually(story())


def test_a_yes_that_is_given_again_meanwhile_is_the_last_word() -> None:
    async def story() -> None:
        durable, provider = Durable(), Slow(20.0)
        await Worker(durable, provider).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: provider.said_late == 1)
        durable.decide(1, decision("w1"))
        await asyncio.sleep(5)
        durable.decide(1, decision("g2", "given", at=wall()))
        await asyncio.sleep(120)
        assert provider.state == {(key, "n"): PERMIT}
        assert not durable.parked
        assert durable.committed == 3

    virtually(story())


def test_a_yes_that_went_well_at_last_is_remembered_until_its_first_try_cannot_land() -> None:
    """The retry was accepted and its chunk acknowledged; then the worker dies, and the no comes to its successor."""

    async def story() -> None:
        durable, provider = Durable(), Slow(25.0)
        worker = await Worker(durable, provider).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: durable.committed == 1, 5)
        await worker.crash()
        await Worker(durable, provider).start()
        await asyncio.sleep(2)
        durable.decide(1, decision("w1"))
        await asyncio.sleep(120)
        assert provider.state == {(key, "n"): SUPPRESS}
        assert not durable.parked

    virtually(story())


def test_a_permission_that_ends_between_the_call_and_its_guard_is_told_as_a_no() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=2.0)  # the guard is asked 1 s after the launch
        worker = await Worker(durable, provider).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND, expires_at=wall() + SECOND // 2))
        await asyncio.sleep(10)
        assert not worker.bugs
        assert provider.state == {(key, "n"): SUPPRESS}

    virtually(story())


def test_a_permission_that_ends_at_its_guard_lets_the_newer_entry_go() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=2.0)
        worker = await Worker(durable, provider).start()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND, expires_at=wall() + SECOND // 2))
        await until(lambda: bool(provider.calls))
        durable.decide(1, decision("w1"))
        await asyncio.sleep(10)
        assert not worker.bugs
        assert provider.state == {(key, "n"): SUPPRESS}
        assert durable.committed == 2

    virtually(story())


def test_an_entry_written_again_at_the_end_of_a_permission_is_a_no() -> None:  # R4
    async def story() -> None:
        durable, provider = Durable(), Provider()
        worker = await Worker(durable, provider).start()
        ends = wall() + 60 * SECOND
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND, expires_at=ends))
        await until(lambda: provider.state.get((key, "n")) == PERMIT)
        await until(lambda: wall() >= ends)
        durable.decide(1)
        await until(lambda: provider.state[key, "n"] == SUPPRESS, 5)
        assert provider.applied[-1].reason == "expired"
        durable.decide(1)
        await until(lambda: durable.committed == 3)
        assert len(provider.applied) == 2
        assert not worker.bugs

    virtually(story())


def test_an_entry_written_at_the_end_of_a_permission_is_a_no_even_if_our_clock_is_behind() -> None:  # R4
    async def story() -> None:
        durable, provider = Durable(), Provider()
        worker = Worker(durable, provider, clock_behind=3 * SECOND)
        await worker.start()
        ends = wall() + 60 * SECOND
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND, expires_at=ends))
        await until(lambda: provider.state.get((key, "n")) == PERMIT)
        await until(lambda: wall() >= ends)
        durable.decide(1)
        await until(lambda: provider.state[key, "n"] == SUPPRESS, 5)

    virtually(story())


def test_a_permission_is_told_from_the_entry_that_saw_every_decision() -> None:  # R12
    async def story() -> None:
        durable, provider = Durable(), Provider()
        # ann refused before the rotation: only the old key's entry knows. bob shares the number and gives after it.
        durable.decide(1, decision("a1", at=wall() - 100 * SECOND, subject_ref="ann"), key_id="h1")
        await Worker(durable, provider).start()
        await until(lambda: durable.committed == 1)
        given = decision("b1", "given", at=wall() - 10 * SECOND, subject_ref="bob")
        durable.decide(1, given, key_id="h1")
        durable.decide(1, given, key_id="h2")
        await asyncio.sleep(10)
        told = {push.address: push.action for push in provider.applied}
        assert set(told.values()) == {SUPPRESS}

    virtually(story())
