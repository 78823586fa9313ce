"""The engine against a provider that misbehaves, in virtual time."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from propagator.connector import PERMIT, SUPPRESS, Accepted, Outcome, Push, Refused, TryAgain
from propagator.errors import DestinationDown, Misconfigured, Throttled
from propagator.footing import DOUBT_SECONDS
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
    wanted_state,
)


def test_a_withdrawal_is_told_at_once_and_proved() -> None:  # R1, R28
    async def story() -> None:
        durable, provider = Durable(), Provider()
        worker = await Worker(durable, provider).start()
        await asyncio.sleep(1.0)
        key = durable.decide(1, decision("d1"))
        before = wall()
        await until(lambda: durable.committed == 1)
        assert provider.state == {(key, "n"): SUPPRESS}
        assert wall() - before < 0.2 * SECOND
        accepted, effective = durable.receipts
        assert (accepted["stage"], effective["stage"]) == ("accepted", "effective")
        assert accepted["decision_ids"] == ["d1"]
        assert accepted["attempts"] == 1
        await worker.close()
        assert not worker.bugs

    virtually(story())


def test_nothing_is_said_where_nobody_decided() -> None:  # R3
    async def story() -> None:
        durable, provider = Durable(), Provider()
        durable.decide(1, decision("d1", purpose="survey"))
        await Worker(durable, provider).start()
        await until(lambda: durable.committed == 1)
        assert set(provider.state) == {("h1.address01", "s")}

    virtually(story())


def test_a_refusal_of_everything_reaches_every_target() -> None:  # R6
    async def story() -> None:
        durable, provider = Durable(), Provider()
        key = durable.decide(1, decision("d1", "objected", purpose="*"))
        await Worker(durable, provider).start()
        await until(lambda: durable.committed == 1)
        assert provider.state == {(key, "n"): SUPPRESS, (key, "s"): SUPPRESS}
        assert len([each for each in durable.receipts if each["stage"] == "accepted"]) == 1

    virtually(story())


def test_revocations_go_before_permissions() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=0.5)
        for number in range(10):
            durable.decide(number, decision(f"g{number}", "given", at=wall() - 10 * SECOND))
        for number in range(10, 20):
            durable.decide(number, decision(f"w{number}"))
        where = destination(batch=5, concurrency=1)
        await Worker(durable, provider, where, chunk=20).start()
        await until(lambda: durable.committed == 20)
        actions = [call[0].action for call in provider.calls]
        assert actions == [SUPPRESS, SUPPRESS, PERMIT, PERMIT]

    virtually(story())


def test_a_newer_entry_replaces_one_that_waits() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        for at in range(20):
            status = "given" if at % 2 == 0 else "withdrawn"
            durable.decide(1, decision(f"d{at}", status, at=wall() + at * 10 * SECOND))
        await Worker(durable, provider, chunk=20).start()
        await until(lambda: durable.committed == 20)
        assert [push.decision_ids for push in provider.applied] == [("d19",)]

    virtually(story())


def test_one_address_and_target_is_never_twice_in_flight() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=0.3)
        await Worker(durable, provider).start()
        for at in range(20):
            durable.decide(1, decision(f"d{at}", at=wall()))
            await asyncio.sleep(0.05)
        await until(lambda: durable.committed == 20)
        assert provider.overlaps == 0
        assert provider.applied[-1].decision_ids == ("d19",)
        assert len(provider.applied) < 10

    virtually(story())


def test_an_unchanged_target_is_not_pushed_again_but_a_repeated_choice_is() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        await Worker(durable, provider).start()
        durable.decide(1, decision("d1"))
        await until(lambda: durable.committed == 1)
        durable.decide(1, decision("d2", purpose="survey"))
        await until(lambda: durable.committed == 2)
        assert [push.target for push in provider.applied] == ["n", "s"]
        durable.decide(1, decision("d3"))
        await until(lambda: durable.committed == 3)
        assert [push.target for push in provider.applied] == ["n", "s", "n"]

    virtually(story())


def test_an_outage_pauses_consumption_parks_nobody_and_loses_nothing() -> None:  # R2
    async def story() -> None:
        durable = Durable()
        down = True

        async def behave(pushes: Sequence[Push], _provider: Provider) -> None:
            if down:
                raise DestinationDown("unreachable")

        provider = Provider(behave=behave)
        worker = await Worker(durable, provider, max_outstanding=10_000).start()
        durable.decide(0, decision("d0"))
        await asyncio.sleep(20)
        for number in range(1, 99):
            durable.decide(number, decision(f"d{number}"))
        await asyncio.sleep(100)
        assert not durable.parked
        assert worker.dispatcher.paused
        assert worker.dispatcher.waiting < 99
        assert len(provider.calls) < 110
        down = False
        before = wall()
        await until(lambda: durable.committed == 99)
        assert wall() - before < 16 * SECOND
        assert len(provider.state) == 99
        assert "queued" in durable.stages("h1.address00")

    virtually(story())


def test_a_poison_address_is_parked_while_the_others_flow() -> None:
    async def story() -> None:
        durable = Durable()

        async def behave(pushes: Sequence[Push], _provider: Provider) -> None:
            if any(push.address.endswith("07") for push in pushes):
                raise DestinationDown("http_500")

        provider = Provider(behave=behave)
        worker = await Worker(durable, provider).start()
        total = 0
        durable.decide(7, decision("d7"))
        while not durable.parked or durable.committed < total:
            for number in range(5):
                durable.decide(number, decision(f"d{total}.{number}"))
                total += 1
            await asyncio.sleep(0.5)
            assert wall() < (1_700_000_000 + 120) * SECOND
        assert set(durable.parked) == {"h1.address07"}
        assert "failed" in durable.stages("h1.address07")
        assert not worker.bugs
        provider.behave = None
        await asyncio.sleep(130)
        assert not durable.parked
        assert provider.state["h1.address07", "n"] == SUPPRESS
        assert durable.stages("h1.address07")[-1] == "effective"

    virtually(story())


def test_a_parked_address_survives_a_crash_and_a_newer_entry_replaces_it() -> None:
    async def story() -> None:
        durable = Durable()
        poison = True

        async def behave(pushes: Sequence[Push], _provider: Provider) -> Sequence[Outcome] | None:
            if not poison:
                return None
            provider.apply([push for push in pushes if not push.address.endswith("07")])
            return [
                TryAgain(reason="odd") if push.address.endswith("07") else Accepted(effective=True) for push in pushes
            ]

        provider = Provider(behave=behave)
        worker = await Worker(durable, provider).start()
        for at in range(40):
            durable.decide(7 if at == 0 else 1, decision(f"d{at}", at=wall()))
            await asyncio.sleep(0.3)
        await until(lambda: durable.committed == 40)
        assert set(durable.parked) == {"h1.address07"}
        await worker.crash()
        poison = False
        durable.decide(7, decision("d99", "given", at=wall() + 30 * SECOND))
        await Worker(durable, provider).start()
        await until(lambda: durable.committed == 41, 600)
        await asyncio.sleep(200)
        assert not durable.parked
        assert provider.state["h1.address07", "n"] == PERMIT
        assert [p.action for p in provider.applied if p.address.endswith("07")][-1] == PERMIT

    virtually(story())


def test_partial_failure_retries_only_what_failed() -> None:
    async def story() -> None:
        durable = Durable()
        first = True

        async def behave(pushes: Sequence[Push], provider: Provider) -> Sequence[Outcome] | None:
            nonlocal first
            if not first:
                return None
            first = False
            provider.apply(pushes[:2])
            return [Accepted(), Accepted(), *[TryAgain(reason="busy") for _ in pushes[2:]]]

        provider = Provider(behave=behave)
        for number in range(5):
            durable.decide(number, decision(f"d{number}"))
        await Worker(durable, provider).start()
        await until(lambda: durable.committed == 5)
        assert len(provider.applied) == 5

    virtually(story())


def test_throttling_waits_as_told_and_counts_against_nobody() -> None:
    async def story() -> None:
        durable = Durable()
        answers = [Throttled("429", retry_after=7.0), Throttled("429"), Throttled("429")]

        async def behave(pushes: Sequence[Push], _provider: Provider) -> None:
            if answers:
                raise answers.pop(0)

        provider = Provider(behave=behave)
        worker = await Worker(durable, provider, destination(park_after=1)).start()
        durable.decide(1, decision("d1"))
        before = wall()
        await until(lambda: durable.committed == 1)
        assert wall() - before >= 7 * SECOND
        assert not durable.parked
        assert worker.metrics.throttled.labels("fake-fr")._value.get() >= 8.0

    virtually(story())


def test_a_permanent_refusal_is_settled_with_its_reason() -> None:  # R28
    async def story() -> None:
        durable = Durable()

        async def behave(pushes: Sequence[Push], _provider: Provider) -> Sequence[Outcome]:
            return [Refused(code="21211", detail="not a number") for _ in pushes]

        await Worker(durable, Provider(behave=behave)).start()
        durable.decide(1, decision("d1"))
        await until(lambda: durable.committed == 1)
        assert [(r["stage"], r["detail"]) for r in durable.receipts] == [("impossible", "n: 21211")]

    virtually(story())


def test_a_purpose_without_a_target_is_said_not_swallowed() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        await Worker(durable, provider).start()
        durable.decide(1, decision("d1", purpose="billing"))
        await until(lambda: durable.committed == 1)
        assert [(r["stage"], r["decision_ids"]) for r in durable.receipts] == [("impossible", ["d1"])]
        assert not provider.calls

    virtually(story())


def test_an_entry_without_an_address_is_impossible() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        await Worker(durable, provider).start()
        durable.decide(1, decision("d1"), sealed=False)
        await until(lambda: durable.committed == 1)
        assert [(r["stage"], r["detail"]) for r in durable.receipts] == [("impossible", "n: no_address")]

    virtually(story())


def test_an_unreadable_entry_goes_to_dead_letters_and_silences_an_older_yes() -> None:  # R4
    async def story() -> None:
        durable, provider = Durable(), Provider(verify_errors=[DestinationDown("unreachable")] * 5)
        await Worker(durable, provider).start()
        key = durable.decide(1, decision("d1", "given", at=wall() - 10 * SECOND))
        await asyncio.sleep(0.05)
        durable.append(key, b"garbage")
        durable.append(key, b"")
        await until(lambda: durable.committed == 3)
        assert [offset for offset, _ in durable.dead] == [1, 2]
        await asyncio.sleep(60)
        assert not provider.applied

    virtually(story())


def test_a_tombstone_lifts_nothing() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        await Worker(durable, provider).start()
        key = durable.decide(1, decision("d1"))
        await until(lambda: durable.committed == 1)
        durable.append(key, None)
        await until(lambda: durable.committed == 2)
        assert provider.state == {(key, "n"): SUPPRESS}
        assert len(provider.calls) == 1

    virtually(story())


def test_a_permission_needs_leave_the_oldest_key_and_a_date_ahead() -> None:  # R4, R12
    async def story() -> None:
        durable, provider = Durable(), Provider()
        await Worker(durable, provider, destination(push_permissions=False)).start()
        durable.decide(1, decision("d1", "given"))
        await until(lambda: durable.committed == 1)
        assert not provider.applied

        durable, provider = Durable(), Provider()
        await Worker(durable, provider).start()
        durable.decide(1, decision("d1", "given"), key_id="h2")
        durable.decide(2, decision("d2", "given", expires_at=wall() - SECOND, at=wall() - 9 * SECOND))
        durable.decide(3, decision("d3", "given"))
        await until(lambda: durable.committed == 3)
        assert {p.address_key: p.action for p in provider.applied} == {
            "h1.address02": SUPPRESS,
            "h1.address03": PERMIT,
        }

    virtually(story())


def test_a_permission_that_expires_while_it_waits_is_told_as_a_no() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        worker = Worker(durable, provider)
        worker.owns = False
        await worker.start()
        durable.decide(1, decision("d1", "given", expires_at=wall() + 5 * SECOND))
        await asyncio.sleep(3)
        assert not provider.applied
        worker.owns = True
        worker.owns = False
        await asyncio.sleep(4)
        worker.owns = True
        await until(lambda: bool(provider.applied))
        assert [p.action for p in provider.applied] == [SUPPRESS]

    virtually(story())


def test_a_zombie_says_no_only_when_it_cannot_learn_whose_the_partition_is_and_never_yes() -> None:  # R43
    async def story() -> None:
        durable, provider = Durable(), Provider(verify_errors=[DestinationDown("unreachable")] * 3)
        zombie = await Worker(durable, provider).start()
        durable.decide(1, decision("d1", "given", at=wall() - 60 * SECOND))
        durable.decide(2, decision("d2", "withdrawn", at=wall() - 60 * SECOND))
        await asyncio.sleep(0.05)
        zombie.owns = False  # Frozen, and the partition went to another worker.
        await zombie._halt()
        other = Provider(state=provider.state)
        await Worker(durable, other).start()
        durable.decide(1, decision("d3", "withdrawn", at=wall()))
        durable.decide(2, decision("d4", "given", at=wall()))
        await asyncio.sleep(DOUBT_SECONDS)
        assert not provider.applied
        assert other.state == {("h1.address01", "n"): SUPPRESS, ("h1.address02", "n"): PERMIT}
        await asyncio.sleep(120)
        assert [push.action for push in provider.applied] == [SUPPRESS]

    virtually(story())


@pytest.mark.parametrize(("away_from", "away_to", "told_by"), [(5.0, None, 63.0), (58.0, 62.0, 66.0)])
def test_a_no_under_a_long_retry_after_goes_at_its_urgent_moment_though_kafka_is_away(
    away_from: float, away_to: float | None, told_by: float
) -> None:
    async def story() -> None:
        async def throttled_once(_: Sequence[Push], tool: Provider) -> None:
            tool.behave = None
            raise Throttled("throttled", "429", retry_after=600.0)

        durable, provider = Durable(), Provider(behave=throttled_once)
        worker = await Worker(durable, provider).start()
        durable.decide(1, decision("d1"))
        loop = asyncio.get_running_loop()
        loop.call_later(away_from, lambda: setattr(worker, "owns", False))
        if away_to is not None:
            loop.call_later(away_to, lambda: setattr(worker, "owns", True))
        await until(lambda: bool(provider.applied))
        assert 60.0 <= loop.time() <= told_by

    virtually(story())


def test_a_no_is_told_in_lasting_doubt_although_every_connection_takes_long() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=5.0)  # the guard is asked 2.5 s after the launch
        worker = await Worker(durable, provider).start()
        worker.owns = False
        durable.decide(1, decision("d1"))
        await until(lambda: bool(provider.applied))
        assert DOUBT_SECONDS <= asyncio.get_running_loop().time() <= DOUBT_SECONDS + 6.0

    virtually(story())


def test_what_a_predecessor_may_have_told_is_told_under_new_ids() -> None:
    """A receiver that drops ids it knows would keep an old "no" that is told again, and drop the "yes" after it."""

    async def story() -> None:
        durable, first, second = Durable(), Provider(), Provider()
        worker = await Worker(durable, first, chunk=1).start()
        durable.decide(1, decision("d1", at=wall() - 60 * SECOND))
        await until(lambda: durable.committed == 1)
        durable.decide(1, decision("d2", "given", at=wall()))
        await until(lambda: durable.committed == 2)
        await worker.close()
        await asyncio.sleep(60)
        durable.committed = 0
        await Worker(durable, second, chunk=1).start()
        await until(lambda: durable.committed == 2)
        assert second.applied[-1].action == PERMIT
        assert {push.push_id for push in first.applied}.isdisjoint(push.push_id for push in second.applied)

    virtually(story())


def test_an_offset_reset_pushes_the_desired_state_again_and_never_an_old_yes() -> None:  # R30
    async def story() -> None:
        durable, provider = Durable(), Provider()
        worker = await Worker(durable, provider).start()
        for number in range(5):
            durable.decide(number, decision(f"g{number}", "given", at=wall()))
        await until(lambda: durable.committed == 5)
        await asyncio.sleep(10)
        for number in range(5):
            durable.decide(number, decision(f"w{number}", at=wall()))
        await until(lambda: durable.committed == 10)
        await worker.close()
        durable.committed = 0
        provider.applied.clear()
        await Worker(durable, provider, chunk=1).start()
        await until(lambda: durable.committed == 10)
        assert {push.action for push in provider.applied} == {SUPPRESS}
        assert len(provider.applied) == 5

    virtually(story())


def test_an_unverified_destination_is_told_nothing_until_it_verifies() -> None:
    async def story() -> None:
        durable = Durable()
        provider = Provider(verify_errors=[Misconfigured("group", "unknown"), DestinationDown("x")])
        worker = await Worker(durable, provider).start()
        durable.decide(1, decision("d1"))
        await asyncio.sleep(20)
        assert not provider.calls
        assert worker.metrics.verified.labels("fake-fr")._value.get() == 0
        await until(lambda: durable.committed == 1)
        assert worker.metrics.verified.labels("fake-fr")._value.get() == 1

    virtually(story())


def test_a_bug_of_a_connector_stops_the_worker_loudly() -> None:
    async def story() -> None:
        durable = Durable()

        async def behave(pushes: Sequence[Push], _provider: Provider) -> Sequence[Outcome]:
            raise KeyError("bug")

        worker = await Worker(durable, Provider(behave=behave)).start()
        durable.decide(1, decision("d1"))
        await until(lambda: bool(worker.bugs))
        assert durable.committed == 0

    virtually(story())


def test_closing_lets_what_is_in_flight_land() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider(seconds=2.0)
        worker = await Worker(durable, provider).start()
        durable.decide(1, decision("d1"))
        await until(lambda: bool(provider.calls))
        await worker.close()
        assert durable.committed == 1
        assert durable.stages() == ["accepted", "effective"]

    virtually(story())


def test_a_destination_with_one_odd_address_and_nothing_else_tells_the_next_one_soon() -> None:
    async def story() -> None:
        durable = Durable()

        async def behave(pushes: Sequence[Push], _provider: Provider) -> None:
            if any(push.address.endswith("07") for push in pushes):
                raise DestinationDown("http_500")

        await Worker(durable, Provider(behave=behave)).start()
        durable.decide(7, decision("d0"))
        await asyncio.sleep(60)
        before = wall()
        key = durable.decide(1, decision("d1"))
        await until(lambda: "accepted" in durable.stages(key))
        assert wall() - before < 3 * SECOND

    virtually(story())


@pytest.mark.parametrize("seed", range(30))
def test_any_interleaving_of_entries_failures_and_restarts_ends_in_the_newest_state(seed: int) -> None:  # R43
    """Workers crash and are replaced, the provider fails in every way, some of it after it has applied a push, or
    before it applies it after all."""

    async def story() -> None:
        rng = random.Random(seed)
        durable = Durable()
        calm = False
        wrong: list[Push] = []

        def late(pushes: Sequence[Push], provider: Provider) -> None:
            """The tool goes on with a call that we gave up."""
            states = {(push.address_key, push.target): push.action for push in pushes if push.action == PERMIT}
            asyncio.get_running_loop().call_later(rng.random() * 25, provider.state.update, states)

        async def behave(pushes: Sequence[Push], provider: Provider) -> Sequence[Outcome] | None:
            luck = 1.0 if calm else rng.random()
            try:
                await asyncio.sleep(rng.random() * 0.2)
            except asyncio.CancelledError:
                late(pushes, provider)
                raise
            if luck < 0.05:
                late(pushes, provider)
                raise DestinationDown("timeout")
            if luck < 0.1:
                raise DestinationDown("cut")
            if luck < 0.2:
                provider.apply(pushes)
                raise DestinationDown("timeout")
            if luck < 0.25:
                raise Throttled("429", retry_after=rng.choice([None, 0.5]))
            if luck < 0.28:
                raise Misconfigured("token")
            if luck < 0.45:
                good = [rng.random() < 0.5 for _ in pushes]
                provider.apply([p for p, ok in zip(pushes, good, strict=True) if ok])
                return [
                    Accepted(effective=True) if ok else TryAgain(reason="busy", after_seconds=rng.choice([None, 0.3]))
                    for ok in good
                ]
            return None

        def watch(push: Push) -> None:
            # A "yes" is wrong if the list said otherwise already when the request was let go (0.3 s ago at most).
            newest = durable.newest(push.address_key)
            if push.action == PERMIT and newest is not None and newest.offset > push.version:
                written = durable.codec.decode("suppression.sms.v1", newest.value)["written_at"]
                if wall() - written > 0.5 * SECOND:
                    wrong.append(push)

        provider = Provider(behave=behave, on_apply=watch)
        where = destination(batch=rng.choice([1, 3, 25]), mixed=rng.random() < 0.5, park_after=rng.choice([1, 3]))
        worker = await Worker(durable, provider, where, seed=seed, chunk=rng.choice([1, 5, 50])).start()
        for at in range(150):
            purpose = rng.choice(["newsletter", "survey", "*"])
            status = "withdrawn" if purpose == "*" else rng.choice(["given", "withdrawn", "refused"])
            durable.decide(rng.randrange(12), decision(f"d{at:03}", status, purpose=purpose, at=wall()))
            await asyncio.sleep(rng.random() * 0.4)
            chance = rng.random()
            if chance < 0.04:
                await worker.crash()
            elif chance < 0.07:
                await worker.close()
            if chance < 0.07:
                if rng.random() < 0.2:
                    durable.committed = 0
                worker = await Worker(durable, provider, where, seed=at, chunk=rng.choice([1, 5, 50])).start()
        calm = True
        await until(lambda: durable.committed == len(durable.records) and not durable.parked, 4000)
        await asyncio.sleep(50)
        assert not worker.bugs
        assert not wrong
        assert wanted_state(durable, where).items() <= provider.state.items()

    virtually(story())
