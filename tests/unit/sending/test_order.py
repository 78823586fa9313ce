"""The order of calls: live before bulk, revocations first, a tenth for bulk, the rule of age, full batches."""

import asyncio
import random

import pytest

from propagator.errors import DestinationDownError
from propagator.sending.loop_share import LoopShare
from tests.support.virtual_time import SECOND, now_micros, until, virtually
from tests.unit.sending.rig import Rig, decision, destination, key


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def twilio(**more: object) -> Rig:
    """Twilio's documented limits: 100 calls a minute, 25 a call."""
    return Rig(destination=destination(batch=25, mixed=True, per_second=1.5, burst=10, **more))  # type: ignore[arg-type]


def fill_bulk(rig: Rig, count: int) -> None:
    """An import of yesterday."""
    rig.state.import_bulk([key(100_000 + number) for number in range(count)], at=now_micros() - 86_400 * SECOND)


async def live_withdrawals(rig: Rig, count: int, *, a_second: float) -> dict[str, float]:
    """One after the other; when each was decided, in seconds of the loop."""
    rng = random.Random(3)
    clock = asyncio.get_running_loop().time
    decided: dict[str, float] = {}
    for number in range(count):
        decided[key(number)] = clock()
        rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(rng.expovariate(a_second))
    return decided


def first_sent(rig: Rig) -> dict[str, float]:
    found: dict[str, float] = {}
    for call in rig.provider.calls:
        for push in call.pushes:
            found.setdefault(push.address_key, call.at)
    return found


@pytest.mark.long
def test_100_000_bulk_pushes_at_twilio_do_not_delay_live_withdrawals() -> None:
    async def scenario() -> None:
        rig = twilio()
        fill_bulk(rig, 100_000)
        await rig.start()
        await asyncio.sleep(10)
        decided = await live_withdrawals(rig, 800, a_second=20)
        await until(lambda: all(each in rig.state.rows for each in decided), seconds=10)
        sent = first_sent(rig)
        delays = [sent[each] - at + rig.provider.latency for each, at in decided.items()]
        assert percentile(delays, 0.99) <= 3.0
        elapsed = asyncio.get_running_loop().time()
        assert len(rig.provider.requests) <= 10 + 1.5 * elapsed
        used = sum(len(call.pushes) for call in rig.provider.calls)
        assert used >= 0.9 * 25 * 1.5 * elapsed, "bulk gets what the limit leaves"
        assert rig.state.largest_answer <= 4_200, "the window is bounded"
        await rig.stop()

    virtually(scenario())


def test_a_live_withdrawal_that_an_import_states_again_does_not_wait_behind_it() -> None:  # R46
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=1, burst=2))
        fill_bulk(rig, 500)
        await rig.start()
        await asyncio.sleep(20)
        rig.provider.unreachable = True
        rig.state.decide(key(1), decision("live"))
        await asyncio.sleep(30)
        rig.state.decide(key(1), decision("again", bulk=True))
        await asyncio.sleep(30)
        rig.provider.unreachable = False
        await until(lambda: key(1) in rig.state.rows, seconds=60)
        sent = [push for call in rig.provider.calls for push in call.pushes if push.address_key == key(1)]
        assert sent[-1].decision_ids == ("again",)
        assert rig.state.stages(key(1)) == ["queued", "accepted", "effective"], "as for any live one"
        labels = {"channel": "sms", "class": "live", "action": "suppress"}
        assert rig.sample("latency_seconds_count", **labels) == 1
        assert (rig.sample("latency_seconds_sum", **labels) or 0.0) >= 60.0, "since it was stated first"
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_bulk_gets_a_tenth_of_the_calls_under_a_live_flood() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=10, burst=2))
        fill_bulk(rig, 500)
        for number in range(2_000):
            rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        await asyncio.sleep(60)
        bulk = [call.pushes[0].decision_ids[0].startswith("b") for call in rig.provider.calls]
        assert 0.09 <= sum(bulk) / len(bulk) <= 0.12
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_bulk_leaves_a_token_for_the_next_live_push() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=0.5, burst=2))
        fill_bulk(rig, 500)
        await rig.start()
        await asyncio.sleep(60)
        for number in range(20):
            decided_at = asyncio.get_running_loop().time()
            rig.state.decide(key(number), decision(f"d{number}"))
            await asyncio.sleep(11.3)
            assert first_sent(rig)[key(number)] - decided_at <= 0.1
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_live_pushes_that_can_keep_the_promise_go_first_and_every_fourth_call_takes_the_oldest() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=2, burst=2))
        old = now_micros() - 3_600 * SECOND
        for number in range(1_000, 1_400):
            rig.state.decide(key(number), decision(f"old{number}", at=old + number), written_at=old)
        await rig.start()
        await asyncio.sleep(5)
        decided = await live_withdrawals(rig, 60, a_second=1.2)
        await asyncio.sleep(2)
        sent = first_sent(rig)
        delays = [sent[each] - at for each, at in decided.items()]
        assert percentile(delays, 0.9) <= 5.0
        aged = [call.pushes[0].decision_ids[0] for call in rig.provider.calls]
        aged = [each for each in aged if each.startswith("old")]
        assert len(aged) >= len(rig.provider.calls) // 4 - 1
        assert aged == sorted(aged), "the oldest first"
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_a_new_live_push_finds_space_in_a_window_that_is_full_of_old_ones() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=2, burst=2))
        old = now_micros() - 3_600 * SECOND
        for number in range(1_000, 6_000):
            rig.state.decide(key(number), decision(f"old{number}", at=old + number), written_at=old)
        await rig.start()
        await asyncio.sleep(5)
        decided_at = asyncio.get_running_loop().time()
        rig.state.decide(key(1), decision("new"))
        await until(lambda: key(1) in first_sent(rig), seconds=3.0)
        assert first_sent(rig)[key(1)] - decided_at <= 1.5
        await rig.stop()

    virtually(scenario())


def test_revocations_go_before_permissions_in_each_class() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=1, burst=2, push_permissions=True))
        at = now_micros() - 60 * SECOND
        for number in range(10):
            rig.state.decide(key(number), decision(f"p{number}", "given", at=at))
            rig.state.decide(key(100 + number), decision(f"w{number}", at=at + 30 * SECOND))
        await rig.start()
        await until(lambda: len(rig.provider.calls) == 20, seconds=60)
        actions = [push.action for call in rig.provider.calls for push in call.pushes]
        assert actions == ["suppress"] * 10 + ["permit"] * 10
        await rig.stop()

    virtually(scenario())


def test_a_live_call_is_filled_up_from_bulk_with_the_same_action_alone() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True, per_second=1, burst=2, push_permissions=True))
        fill_bulk(rig, 100)
        at = now_micros() - 86_400 * SECOND
        for number in range(60_000, 60_100):
            rig.state.decide(key(number), decision(f"g{number}", "given", at=at, bulk=True))
        await rig.start()
        await asyncio.sleep(0.5)
        for number in range(3):
            rig.state.decide(key(number), decision(f"d{number}"))
        await until(lambda: rig.state.nothing_pending, seconds=120)
        assert all(len(call.actions) == 1 for call in rig.provider.calls)
        [mixed] = [call for call in rig.provider.calls if any(p.decision_ids == ("d0",) for p in call.pushes)]
        assert len(mixed.pushes) == 25
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_live_outcomes_of_a_filled_call_do_not_wait_for_the_turn_of_bulk() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=200, mixed=True, per_second=1, burst=2))
        rig.loop_share = LoopShare(asyncio.get_running_loop().time)
        fill_bulk(rig, 600)
        for number in range(3):
            rig.state.decide(key(number), decision(f"d{number}"))
        async with rig.loop_share.slice():  # Another destination records bulk, and does not end.
            await rig.start()
            await until(lambda: {key(number) for number in range(3)} <= rig.state.rows.keys())
            assert len(rig.state.rows) == 3
        await until(lambda: rig.state.nothing_pending, seconds=120)
        assert len(rig.provider.calls) == 4, "it was filled up"
        await rig.stop()

    virtually(scenario())


def test_the_call_that_takes_the_last_connection_is_not_filled_up() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True, per_second=100, burst=100, concurrency=2))
        rig.provider.latency = 5.0
        fill_bulk(rig, 200)
        await rig.start()
        await until(lambda: bool(rig.provider.calls))
        rig.state.decide(key(0), decision("d0"))
        await until(lambda: len(rig.provider.calls) == 2)
        assert [push.address_key for push in rig.provider.calls[1].pushes] == [key(0)]
        await until(lambda: rig.state.nothing_pending, seconds=120)
        await rig.stop()

    virtually(scenario())


def test_live_pushes_of_a_filled_call_that_fails_go_again_without_the_filling() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True, per_second=1, burst=2))
        fill_bulk(rig, 200)
        await rig.start()
        await asyncio.sleep(5)
        failures = [DestinationDownError("http_500")]
        rig.provider.fails = lambda pushes: (
            failures.pop() if failures and any(p.decision_ids == ("d0",) for p in pushes) else None
        )
        for number in range(3):
            rig.state.decide(key(number), decision(f"d{number}"))
        await until(lambda: rig.state.nothing_pending, seconds=120)
        carrying = [
            [push.decision_ids[0][0] for push in call.pushes]
            for call in rig.provider.calls
            if any(push.decision_ids[0].startswith("d") for push in call.pushes)
        ]
        assert set(carrying[0]) == {"d", "b"}
        assert carrying[1] == ["d", "d", "d"]
        await rig.stop()

    virtually(scenario())


def test_batches_are_of_one_target_unless_the_connector_mixes_them() -> None:
    async def scenario() -> None:
        for mixed in (False, True):
            targets = {"newsletter": ("t1",), "survey": ("t2",)}
            rig = Rig(destination=destination(targets=targets, batch=25, mixed=mixed, per_second=1, burst=2))
            for number in range(20):
                purpose = ("newsletter", "survey")[number % 2]
                rig.state.decide(key(number), decision(f"d{number}", purpose=purpose))
            await rig.start()
            await until(lambda rig=rig: rig.state.nothing_pending, seconds=60)  # type: ignore[misc]
            targets_a_call = {len({push.target for push in call.pushes}) for call in rig.provider.calls}
            assert targets_a_call == ({2} if mixed else {1})
            await rig.stop()

    virtually(scenario())


def test_targets_of_addresses_that_are_pending_since_the_same_time_take_turns() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(targets={"newsletter": ("t1", "t2")}, batch=5, per_second=1, burst=2))
        at = now_micros()
        for number in range(20):
            rig.state.decide(key(number), decision(f"d{number}", at=at, bulk=True))
        await rig.start()
        await until(lambda: rig.state.nothing_pending, seconds=60)
        targets = [call.pushes[0].target for call in rig.provider.calls]
        assert targets == ["t1", "t2"] * 4
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_live_calls_of_one_target_are_filled_however_much_bulk_waits_for_another() -> None:
    async def scenario() -> None:
        targets = {"newsletter": ("t1",), "survey": ("t2",)}
        rig = Rig(destination=destination(targets=targets, batch=500, per_second=1, burst=2))
        fill_bulk(rig, 2_000)  # of each: together more than the window
        await rig.start()
        await live_withdrawals(rig, 20, a_second=6)
        sizes = [len(call.pushes) for call in rig.provider.calls]
        assert len(sizes) >= 4
        assert sizes == [500] * len(sizes), "a call that carries one live push costs as much as a full one"
        await rig.stop()

    virtually(scenario())


def test_every_request_of_a_call_counts_against_the_accounts_limit() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=5, burst=5))
        rig.provider.extra_requests = 2
        for number in range(100):
            rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        await asyncio.sleep(20)
        assert 80 <= len(rig.provider.requests) <= 5 + 5 * 20
        assert rig.sample("requests_total") == len(rig.provider.requests) + rig.provider.verifications
        await rig.stop()

    virtually(scenario())


def test_slow_bulk_calls_leave_a_connection_for_live() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, concurrency=4))
        rig.provider.latency = 10.0
        fill_bulk(rig, 100)
        await rig.start()
        await asyncio.sleep(3)
        decided_at = asyncio.get_running_loop().time()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: key(1) in first_sent(rig), seconds=1.0)
        assert first_sent(rig)[key(1)] - decided_at <= 0.1
        await rig.stop()

    virtually(scenario())


def test_a_fill_is_bulk_and_live_decisions_after_it_are_not() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=2, burst=2))
        for number in range(100, 150):
            rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        await until(lambda: rig.state.nothing_pending, seconds=60)
        await asyncio.sleep(1)
        rig.state.begin_fill()
        await asyncio.sleep(3)
        decided_at = asyncio.get_running_loop().time()
        rig.state.decide(key(1), decision("new"))
        await until(lambda: key(1) in first_sent(rig), seconds=1.0)
        assert first_sent(rig)[key(1)] - decided_at <= 0.2
        await until(lambda: rig.state.nothing_pending, seconds=60)
        assert len(rig.provider.sent(key(120))) == 2
        await rig.stop()

    virtually(scenario())
