"""A destination that fails as a whole: breaker, throttling, refusals, misconfiguration, unknown targets."""

import asyncio
import itertools
from collections.abc import Sequence
from functools import partial

import pytest

from propagator.connectors.base import PERMIT, SUPPRESS, Accepted, Outcome, Push, Refused, Retryable, Verified
from propagator.connectors.http import HttpResponse
from propagator.connectors.responses import raise_for_status
from propagator.errors import (
    CallFailedError,
    DestinationDownError,
    MisconfiguredError,
    ThrottledError,
    UnknownTargetsError,
)
from propagator.timing import ACCOUNT_CHECK_SECONDS
from tests.support.virtual_time import SECOND, now_micros, until, virtually
from tests.unit.sending.rig import Rig, decision, destination, key


def clock() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.long
def test_an_outage_of_an_hour_ends_with_one_delivery_for_each_address_in_order() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True, per_second=20, burst=20, push_permissions=True))
        rig.provider.fails = lambda _pushes: DestinationDownError("http_503")
        await rig.start()
        addresses, rounds = 1_000, 5  # Passes with 10,000 too, in a minute.
        for change in range(rounds):
            for number in range(addresses):
                status = "given" if number % 10 == 0 else "withdrawn"
                made = decision(f"d{number}.{change}", status, at=now_micros(), bulk=number % 2 == 0)
                rig.state.decide(key(number), made)
                if number % 100 == 99:
                    await asyncio.sleep(72.0)
        assert rig.sample("breaker_open") == 1
        assert not rig.provider.holds
        assert all(row.retry is None for rows in rig.state.rows.values() for row in rows.values())
        probes = len(rig.provider.calls)
        assert probes <= 3_600, "it is probed, not hammered"
        rig.provider.fails = lambda _pushes: None
        up_at = clock()
        await until(lambda: rig.state.nothing_pending, seconds=600)
        assert rig.provider.calls[probes].at - up_at <= 16.0
        changes = rig.provider.changes
        assert len(changes) == len({address for _, address, _, _ in changes}) == addresses
        live = {key(number) for number in range(addresses) if number % 2}
        order = [(address not in live, action == "permit") for _, address, _, action in changes]
        misplaced = sum(earlier > later for earlier, later in itertools.pairwise(order))
        assert misplaced <= len(rig.provider.calls[probes:]) * 2, "revocations first, but for the shares of bulk"
        first_half = [bulk for bulk, _ in order[: addresses // 4]]
        assert sum(first_half) <= 0.2 * len(first_half), "live before bulk"
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_an_outage_is_two_lines_of_the_log_whose_first_has_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination())
        rig.provider.fails = lambda _pushes: DestinationDownError("http_503")
        await rig.start()
        for number in range(20):
            rig.state.decide(key(number), decision(f"d{number}", at=now_micros()))
        await until(lambda: rig.sample("breaker_open") == 1, seconds=600)
        await asyncio.sleep(600)
        rig.provider.fails = lambda _pushes: None
        await until(lambda: rig.state.nothing_pending, seconds=600)
        await rig.stop()

    with caplog.at_level("INFO", logger="propagator.sending"):
        virtually(scenario())
    opened, closed = (each for each in caplog.records if each.message.startswith("circuit breaker"))
    assert (opened.levelname, vars(opened)["why"], closed.levelname) == ("WARNING", "http_503", "INFO")


@pytest.mark.long
def test_an_outage_counts_against_no_address() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.fails = lambda _pushes: DestinationDownError("http_503")
        await rig.start()
        for number in range(20):
            rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(600)
        assert not rig.state.rows
        assert {each.stage for each in rig.state.receipts} == {"queued"}
        assert len(rig.state.receipts) == 20, "once each"
        rig.provider.fails = lambda _pushes: None
        await until(lambda: rig.state.nothing_pending, seconds=20)
        await rig.stop()

    virtually(scenario())


def test_one_address_that_fails_every_call_it_is_in_is_found_and_the_others_go() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True))
        rig.provider.fails = lambda pushes: (
            DestinationDownError("http_500") if any(p.address_key == key(7) for p in pushes) else None
        )
        await rig.start()
        for number in range(100):
            rig.state.decide(key(number), decision(f"d{number}"))
        await until(lambda: len(rig.provider.holds) == 99, seconds=30)
        await until(lambda: key(7) in rig.state.rows, seconds=30)
        for number in range(100, 160):
            decided_at = clock()
            rig.state.decide(key(number), decision(f"d{number}"))
            while (key(number), "t1") not in rig.provider.holds:
                assert clock() - decided_at <= 1.5
                await asyncio.sleep(0.01)
            await asyncio.sleep(1.0)
        await rig.stop()

    virtually(scenario())


def test_a_refusal_that_meets_every_push_of_a_call_ends_none_and_holds_the_destination() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True))
        rig.provider.answer = lambda _push: Refused(code="403")
        await rig.start()
        for number in range(30):
            rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(300)
        assert not rig.state.rows
        assert not [each for each in rig.state.receipts if each.stage == "impossible"]
        assert rig.sample("breaker_open") == 1
        assert len(rig.provider.calls) <= 15
        rig.provider.answer = lambda _push: Accepted()
        await until(lambda: rig.state.nothing_pending, seconds=60)
        assert len(rig.provider.holds) == 30
        await rig.stop()

    virtually(scenario())


def test_two_invalid_addresses_that_met_in_a_call_end_once_the_destination_accepts_another() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True))

        def answer(push: Push) -> Outcome:
            return Refused(code="21211") if push.address_key in (key(1), key(2)) else Accepted()

        rig.provider.answer = answer
        rig.state.decide(key(1), decision("d1"))
        rig.state.decide(key(2), decision("d2"))
        await rig.start()
        await asyncio.sleep(5)
        assert not rig.state.rows
        decided_at = clock()
        rig.state.decide(key(3), decision("d3"))
        await until(lambda: rig.state.nothing_pending, seconds=5)
        assert rig.provider.changes[0][0] - decided_at <= 1.5, "a new push is tried although the destination is held"
        assert rig.state.rows[key(1)]["t1"].refused == rig.state.rows[key(2)]["t1"].refused == "21211"
        await rig.stop()

    virtually(scenario())


def impossible(rig: Rig) -> list[str]:
    return [each.address_key for each in rig.state.receipts if each.stage == "impossible"]


@pytest.mark.long
def test_a_target_that_refuses_everything_ends_nothing_and_holds_up_no_other() -> None:  # R2, R26
    async def scenario() -> None:
        targets = {"newsletter": ("t1",), "survey": ("t2",)}
        rig = Rig(destination=destination(targets=targets, batch=25, mixed=True))
        rig.provider.answer = lambda push: Refused(code="30646") if push.target == "t2" else Accepted()
        for number in range(100):
            rig.state.decide(key(number), decision(f"d{number}", purpose=("newsletter", "survey")[number % 2]))
        await rig.start()
        await until(lambda: len(rig.provider.holds) == 50, seconds=10)
        await asyncio.sleep(300)
        assert not impossible(rig)
        assert (rig.sample("quarantined_targets"), rig.sample("destination_verified")) == (1, 0)
        assert rig.sample("breaker_open") == 0
        assert len(rig.provider.calls) <= 10 + 300 / 30 + 10
        rig.provider.answer = lambda _push: Accepted()
        await until(lambda: rig.state.nothing_pending, seconds=130)
        assert len(rig.provider.holds) == 100
        await until(lambda: rig.sample("destination_verified") == 1, seconds=5)
        await rig.stop()

    virtually(scenario())


def test_two_invalid_addresses_at_one_of_two_targets_hold_it_up_for_one_call() -> None:
    async def scenario() -> None:
        targets = {"newsletter": ("t1",), "survey": ("t2",)}
        rig = Rig(destination=destination(targets=targets, batch=25, mixed=True))
        bad = {key(1), key(2)}
        rig.provider.answer = lambda push: Refused(code="21211") if push.address_key in bad else Accepted()
        for number in range(1, 4):
            rig.state.decide(key(number), decision(f"d{number}", purpose="newsletter" if number == 3 else "survey"))
        await rig.start()
        await until(lambda: rig.sample("quarantined_targets") == 1, seconds=5)
        decided_at = clock()
        for number in range(4, 50):
            rig.state.decide(key(number), decision(f"d{number}", purpose="survey"))
        await until(lambda: len(rig.provider.holds) == 47, seconds=5)
        assert clock() - decided_at <= 1.5
        await until(lambda: rig.state.nothing_pending, seconds=100)
        assert sorted(impossible(rig)) == [key(1), key(2)]
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_refusals_one_call_after_another_end_at_most_one_until_the_target_accepts_another() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.answer = lambda _push: Refused(code="bad.request")
        await rig.start()
        for number in range(20):
            rig.state.decide(key(number), decision(f"d{number}"))
            await asyncio.sleep(15)
        assert impossible(rig) == [key(0)]
        assert rig.sample("destination_verified") == 0
        rig.provider.answer = lambda _push: Accepted()
        await until(lambda: rig.state.nothing_pending, seconds=300)
        assert len(rig.provider.holds) == 19
        await rig.stop()

    virtually(scenario())


def test_permissions_that_are_all_refused_hold_up_no_revocation() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, push_permissions=True))
        rig.provider.answer = lambda push: Refused(code="21610") if push.action == "permit" else Accepted()
        await rig.start()
        for number in range(30):
            rig.state.decide(key(number), decision(f"p{number}", "given"))
        await asyncio.sleep(10)
        assert not impossible(rig)
        for number in range(100, 160):
            decided_at = clock()
            rig.state.decide(key(number), decision(f"d{number}"))
            await until(partial(rig.provider.holds.__contains__, (key(number), "t1")), seconds=5)
            assert clock() - decided_at < 0.5
            await asyncio.sleep(1)
        assert rig.sample("destination_verified") == 0
        await rig.stop()

    virtually(scenario())


def test_a_list_that_is_full_still_lifts_and_is_filled_once_there_is_space() -> None:  # R26
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, push_permissions=True))

        def full(pushes: Sequence[Push]) -> UnknownTargetsError | None:
            full = UnknownTargetsError("list", {"t1": "full: make space"}, action="suppress")
            return full if any(each.action == "suppress" for each in pushes) else None

        rig.provider.fails = full
        await rig.start()
        for number in range(60):
            status = "given" if number % 2 else "withdrawn"
            rig.state.decide(key(number), decision(f"d{number}", status))
        await until(lambda: len(rig.provider.holds) == 30, seconds=5)
        await asyncio.sleep(120)
        assert set(rig.provider.holds.values()) == {"permit"}
        assert (rig.sample("quarantined_targets"), rig.sample("destination_verified")) == (1, 0)
        assert rig.sample("breaker_open") == 0
        rig.provider.fails = lambda _pushes: None
        await until(lambda: rig.state.nothing_pending, seconds=35)
        assert not impossible(rig)
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_targets_that_stop_nothing_are_counted_and_looked_for_again() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.found = Verified(ineffective={"t1": "no campaign names it"})
        await rig.start()
        await until(lambda: rig.sample("ineffective_targets") == 1, seconds=5)
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending, seconds=5)
        assert rig.sample("destination_verified") == 1
        rig.provider.found = Verified(doubt="may not read campaigns")
        await asyncio.sleep(ACCOUNT_CHECK_SECONDS)
        await until(lambda: rig.sample("ineffective_targets") is None, seconds=5)
        rig.provider.found = None
        await asyncio.sleep(ACCOUNT_CHECK_SECONDS)
        await until(lambda: rig.sample("ineffective_targets") == 0, seconds=5)
        assert rig.provider.verifications == 3
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_a_target_that_disappears_at_the_tool_is_found_without_a_push() -> None:
    async def scenario() -> None:
        rig = Rig()
        await rig.start()
        await until(lambda: rig.sample("destination_verified") == 1, seconds=5)
        rig.provider.verify_error = lambda: UnknownTargetsError("list", {"t1": "correct it"})
        await asyncio.sleep(ACCOUNT_CHECK_SECONDS)
        await until(lambda: rig.sample("destination_verified") == 0, seconds=5)
        await rig.stop()

    virtually(scenario())


def test_a_destination_that_a_person_must_correct_counts_as_not_verified() -> None:
    async def scenario() -> None:
        rig = Rig()
        await rig.start()
        await until(lambda: rig.sample("destination_verified") == 1, seconds=5)
        rig.provider.fails = lambda _pushes: MisconfiguredError("http_401", "check `credentials`")
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.sample("destination_verified") == 0, seconds=5)
        rig.provider.fails = lambda _pushes: None
        await until(lambda: rig.state.nothing_pending, seconds=35)
        await until(lambda: rig.sample("destination_verified") == 1, seconds=5)
        await rig.stop()

    virtually(scenario())


@pytest.mark.parametrize("wish", [0.0, 0.001, 1.0])
@pytest.mark.parametrize("accepts_first", [False, True])
@pytest.mark.long
def test_a_destination_that_throttles_without_a_real_wait_is_not_hammered(wish: float, accepts_first: bool) -> None:
    """205 calls a second were seen, for as long as it lasted."""

    async def scenario() -> None:
        rig = Rig(destination=destination(batch=2, per_second=300, burst=300))
        rest = Retryable(reason="throttled", after_seconds=wish, call_failed=True, throttled=True)
        if accepts_first:
            answers = itertools.cycle([Accepted(), rest])
            rig.provider.answer = lambda _push: next(answers)
        else:
            rig.provider.fails = lambda _pushes: ThrottledError("throttled", retry_after=wish)
        await rig.start()
        for number in range(500):
            rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(120)
        assert 5 <= len(rig.provider.calls) <= 240
        await rig.stop()

    virtually(scenario())


def test_throttling_is_honoured_and_revocations_are_at_most_a_minute_apart() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(push_permissions=True))
        rig.provider.fails = lambda _pushes: ThrottledError("throttled", retry_after=600.0)
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        rig.state.decide(key(2), decision("p2", "given", at=now_micros() + 10 * SECOND))
        await asyncio.sleep(300)
        times = [call.at for call in rig.provider.calls]
        assert all(call.pushes[0].action == "suppress" for call in rig.provider.calls[2:]), (
            "the first two flew together"
        )
        assert len(times) <= 8
        gaps = [later - earlier for earlier, later in itertools.pairwise(times[2:])]
        assert gaps
        assert all(59.0 <= gap <= 61.0 for gap in gaps)
        rig.provider.fails = lambda _pushes: None
        await until(lambda: rig.state.nothing_pending, seconds=62)
        assert (rig.sample("throttled_seconds_total") or 0) >= 600
        await rig.stop()

    virtually(scenario())


def test_a_misconfigured_destination_is_probed_every_half_minute() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.fails = lambda _pushes: MisconfiguredError("http_401", "check `credentials`")
        await rig.start()
        for number in range(10):
            rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(150)
        assert 4 <= len(rig.provider.calls) <= 10
        rig.provider.fails = lambda _pushes: None
        await until(lambda: rig.state.nothing_pending, seconds=35)
        await rig.stop()

    virtually(scenario())


def test_nothing_is_sent_before_the_account_is_verified() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.verify_error = lambda: MisconfiguredError("http_401")
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await asyncio.sleep(65)
        assert not rig.provider.calls
        assert rig.verified == ["not verified: http_401"] * 3
        assert rig.beats > 60
        rig.provider.verify_error = lambda: None
        await until(lambda: rig.state.nothing_pending, seconds=35)
        assert rig.verified[-1] is True
        await rig.stop()

    virtually(scenario())


def test_an_unknown_target_holds_only_its_own_pushes() -> None:
    async def scenario() -> None:
        targets = {"newsletter": ("t1",), "survey": ("t2",)}
        rig = Rig(destination=destination(targets=targets, batch=25, mixed=True))
        unknown = {"t2"}
        rig.provider.answer = lambda push: (
            Retryable(reason="sender", unknown_target=True) if push.target in unknown else Accepted()
        )
        rig.provider.verify_error = lambda: UnknownTargetsError("sender", dict.fromkeys(unknown, "correct it"))
        await rig.start()
        for number in range(100):
            rig.state.decide(key(number), decision(f"d{number}", purpose=("newsletter", "survey")[number % 2]))
        await until(lambda: len(rig.provider.holds) == 50, seconds=5)
        await asyncio.sleep(120)
        assert len(rig.provider.holds) == 50
        assert rig.sample("quarantined_targets") == 1
        assert rig.sample("destination_verified") == 0
        assert sum(each.stage == "queued" for each in rig.state.receipts) == 50
        calls = len(rig.provider.calls)
        unknown.clear()
        rig.provider.verify_error = lambda: None
        await until(lambda: rig.state.nothing_pending, seconds=35)
        assert rig.sample("quarantined_targets") in (0, 1)
        first = [push for push in rig.provider.calls[calls].pushes if push.target == "t2"]
        assert len(first) == 1, "one push tries the target"
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_a_target_that_fails_its_trial_is_quarantined_again() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25))
        rig.provider.answer = lambda _push: Retryable(reason="list", unknown_target=True)
        await rig.start()
        for number in range(100):
            rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(300)
        assert len(rig.provider.calls) <= 1 + 4 + 300 / 30
        assert not any(row.retry for rows in rig.state.rows.values() for row in rows.values())
        rig.provider.answer = lambda _push: Accepted()
        await until(lambda: rig.state.nothing_pending, seconds=65)
        await rig.stop()

    virtually(scenario())


def test_unknown_targets_hold_no_memory() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25))
        rig.provider.verify_error = lambda: UnknownTargetsError("list", {"t1": "correct it"})
        rig.state.import_bulk([key(number) for number in range(20_000)], at=now_micros() - 86_400 * SECOND)
        await rig.start()
        await asyncio.sleep(100)
        assert not rig.provider.calls
        assert rig.worker is not None
        assert rig.worker.in_memory == 0
        await rig.stop()

    virtually(scenario())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.long
def test_an_outage_of_five_seconds_costs_little_more_than_five_seconds(seed: int) -> None:  # R2
    """As SendGrid: 9.5 calls a second, 1,000 a call; 100 decisions a second come all the while."""

    async def scenario() -> None:
        rig = Rig(destination=destination(per_second=9.5, burst=20, batch=1_000))
        down = False
        rig.provider.fails = lambda _pushes: DestinationDownError("cut") if down else None
        await rig.start(seed)
        decided: dict[str, float] = {}
        for at in range(150):
            down = 50 <= at < 100
            for number in range(10):
                address = key(at * 10 + number)
                decided[address] = clock()
                rig.state.decide(address, decision(f"d{address}"))
            await asyncio.sleep(0.1)
        await until(lambda: rig.state.nothing_pending, seconds=20)
        delays = [took_effect - decided[address] for took_effect, address, _, _ in rig.provider.changes]
        assert len(delays) == 1_500
        assert max(delays) < 7.0
        await rig.stop()

    virtually(scenario())


@pytest.mark.parametrize("seed", range(3))
def test_the_backlog_of_an_outage_is_drained_soon_after_it(seed: int) -> None:  # R2
    async def scenario() -> None:
        rig = Rig()
        down = True
        rig.provider.fails = lambda _pushes: DestinationDownError("http_503") if down else None
        await rig.start(seed)
        for number in range(99):
            rig.state.decide(key(number), decision(f"d{number}"))
            await asyncio.sleep(0.2)
        await asyncio.sleep(30)
        down = False
        up_at = clock()
        await until(lambda: len(rig.provider.holds) == 99)
        assert clock() - up_at < 6.0
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_one_odd_address_and_nothing_else_is_tried_within_bounds_and_holds_a_new_push_up_for_a_second() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.loses_answer = lambda pushes: (
            DestinationDownError("timeout") if any(p.address_key == key(7) for p in pushes) else None
        )
        await rig.start()
        rig.state.decide(key(7), decision("d7"))
        await asyncio.sleep(600)
        assert len(rig.provider.calls) < 600 / 15 + 2
        for number in range(10, 15):
            decided_at = clock()
            rig.state.decide(key(number), decision(f"d{number}"))
            await until(partial(rig.provider.holds.__contains__, (key(number), "t1")), seconds=5)
            assert clock() - decided_at < 1.3
            await asyncio.sleep(5)
        await rig.stop()

    virtually(scenario())


def test_what_has_waited_for_a_target_goes_in_full_batches_once_it_is_mended() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25))
        rig.provider.verify_error = lambda: UnknownTargetsError("list", {"t1": "correct it"})
        for number in range(101):
            rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        await asyncio.sleep(10)
        rig.provider.verify_error = lambda: None
        await until(lambda: rig.state.nothing_pending, seconds=40)
        assert [len(call.pushes) for call in rig.provider.calls] == [1, 25, 25, 25, 25]
        await rig.stop()

    virtually(scenario())


def test_a_call_that_never_ends_stops_the_heartbeat() -> None:  # R41
    async def scenario() -> None:
        rig = Rig()
        rig.provider.latency = 5_000.0
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await asyncio.sleep(290)
        beats = rig.beats
        await asyncio.sleep(5)
        assert rig.beats > beats
        await asyncio.sleep(30)
        beats = rig.beats
        await asyncio.sleep(60)
        assert rig.beats == beats
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_a_destination_that_is_down_for_long_is_waited_for_with_a_heartbeat() -> None:  # R41
    async def scenario() -> None:
        rig = Rig()
        rig.provider.fails = lambda _pushes: ThrottledError("throttled", retry_after=3_600.0)
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        for _ in range(60):
            beats = rig.beats
            await asyncio.sleep(10)
            assert rig.beats - beats >= 10
        await rig.stop()

    virtually(scenario())


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_permission_that_a_gateway_did_not_answer_for_is_in_doubt(status: int) -> None:  # R2
    """It may have been executed: a withdrawal after it is delivered, and not taken as known from before it."""

    async def scenario() -> None:
        rig = Rig(destination=destination(push_permissions=True))
        with pytest.raises(CallFailedError) as failure:
            raise_for_status(HttpResponse(status=status, headers={"Retry-After": "5"}, body=b""))
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.provider.holds.get((key(1), "t1")) == SUPPRESS)

        def executed_all_the_same(pushes: Sequence[Push]) -> Exception | None:
            if pushes[0].action != PERMIT:
                return None
            rig.provider.holds[key(1), "t1"] = PERMIT
            return failure.value

        rig.provider.fails = executed_all_the_same
        rig.state.decide(key(1), decision("g2", "given"))
        await until(lambda: rig.provider.holds[key(1), "t1"] == PERMIT)
        rig.provider.fails = lambda _pushes: None
        rig.state.decide(key(1), decision("w3"))
        await until(lambda: rig.provider.holds[key(1), "t1"] == SUPPRESS, seconds=60)
        await rig.stop()

    virtually(scenario())


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize(("bulk", "status"), [(False, "withdrawn"), (True, "withdrawn"), (False, "given")])
def test_a_target_that_refuses_everything_holds_up_no_other_target(mixed: bool, bulk: bool, status: str) -> None:  # R2
    async def scenario() -> None:
        targets = {"newsletter": ("t1",), "survey": ("t2",)}
        rig = Rig(destination=destination(targets=targets, batch=25, mixed=mixed, push_permissions=True))
        rig.provider.answer = lambda push: Refused(code="bad.request") if push.target == "t2" else Accepted()
        await rig.start()
        for number in range(3):
            rig.state.decide(key(number), decision(f"d{number}", purpose="survey"))
        await asyncio.sleep(20)
        rig.state.decide(key(50), decision("d50", status, purpose="newsletter", bulk=bulk))
        await until(lambda: (key(50), "t1") in rig.provider.holds, seconds=60)
        await rig.stop()

    virtually(scenario())


def test_a_held_target_is_tried_although_it_cannot_be_checked() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination())
        rig.provider.fails = lambda _pushes: UnknownTargetsError("list", {"t1": "is full"}, action=SUPPRESS)
        await rig.start()
        for number in range(3):
            rig.state.decide(key(number), decision(f"d{number}"))
        await until(lambda: rig.sample("quarantined_targets") == 1)
        rig.provider.verify_error = lambda: MisconfiguredError("credentials", "403")
        rig.provider.fails = lambda _pushes: None
        await until(lambda: rig.state.nothing_pending, seconds=600)
        await rig.stop()

    virtually(scenario())
