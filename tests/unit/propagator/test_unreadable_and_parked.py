"""What cannot be read, now or ever, and what was parked: no revocation is given up for either. In virtual time."""

import asyncio
from collections.abc import Sequence

from propagator.connector import PERMIT, SUPPRESS, Accepted, Outcome, Push, TryAgain
from tests.unit.propagator.harness import (
    SECOND,
    Durable,
    FakeAhead,
    Provider,
    Worker,
    decision,
    until,
    virtually,
    wall,
)


def test_a_parked_no_survives_a_newer_entry_that_cannot_be_read() -> None:
    async def story() -> None:
        durable, bad = Durable(), True

        async def behave(pushes: Sequence[Push], provider: Provider) -> Sequence[Outcome]:
            odd = [bad and push.address.endswith("01") for push in pushes]
            provider.apply([push for push, is_odd in zip(pushes, odd, strict=True) if not is_odd])
            return [TryAgain(reason="item") if is_odd else Accepted() for is_odd in odd]

        provider = Provider(behave=behave)
        worker = await Worker(durable, provider).start()
        key = durable.decide(1, decision("d1"))
        number = 10
        while not durable.parked:
            durable.decide(number, decision(f"x{number}"))
            number += 1
            await asyncio.sleep(0.5)
        durable.append(key, b"broken")
        await until(lambda: bool(durable.dead) and durable.committed == len(durable.records))
        await worker.crash()
        bad = False
        await Worker(durable, provider).start()
        await until(lambda: not durable.parked, 200)
        assert provider.state[key, "n"] == SUPPRESS

    virtually(story())


def test_a_parked_record_that_cannot_be_read_at_all_is_kept() -> None:
    async def story() -> None:
        durable = Durable()
        key = durable.decide(1, decision("d1"))
        durable.append(key, b"broken")
        durable.parked[key] = {
            "source_offset": 0,
            "entry": b"broken too",
            "attempts": 1,
            "first_failed_at": wall(),
            "next_attempt_at": wall(),
        }
        durable.committed = 2
        await Worker(durable, Provider()).start()
        await asyncio.sleep(10)
        assert key in durable.parked

    virtually(story())


def test_an_entry_whose_schema_the_registry_does_not_know_is_waited_for() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        key = durable.decide(1, decision("d1"))
        durable.forget_schemas()
        worker = await Worker(durable, provider).start()
        await asyncio.sleep(300)
        assert not provider.calls
        assert not durable.dead
        assert durable.committed == 0
        assert worker.waits_because is not None
        assert "schema" in worker.waits_because
        durable.remember_schemas()
        await until(lambda: provider.state.get((key, "n")) == SUPPRESS, 5)
        assert worker.waits_because is None

    virtually(story())


def test_a_record_that_is_no_entry_of_ours_goes_to_dead_letters_whatever_its_schema() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        durable.append("poison-1", b"\x00\x77\x35\x94\x00noise")
        key = durable.decide(1, decision("d1"))
        await Worker(durable, provider).start()
        await until(lambda: durable.committed == 2, 5)
        assert durable.dead == [(0, "unknown_schema")]
        assert provider.state == {(key, "n"): SUPPRESS}

    virtually(story())


def test_a_parked_yes_goes_on_after_a_restart_on_an_idle_partition() -> None:
    async def story() -> None:
        durable, provider = Durable(), Provider()
        key = durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        durable.parked[key] = {
            "source_offset": 0,
            "entry": durable.records[0].value,
            "attempts": 6,
            "first_failed_at": wall(),
            "next_attempt_at": wall() + 30 * SECOND,
        }
        durable.committed = 1
        worker = Worker(durable, provider)
        ahead = worker.ahead
        assert isinstance(ahead, FakeAhead)
        await worker.start()
        assert ahead.followed == [0]
        await until(lambda: provider.state == {(key, "n"): PERMIT}, 60)
        await until(lambda: not durable.parked, 60)

    virtually(story())
