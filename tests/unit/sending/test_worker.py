"""The worker around the calls: records without a call, pausing, draining, gauges, and bounded memory."""

import asyncio

import pytest

from consent_contracts.errors import RegistryUnavailableError
from propagator.connectors.base import Accepted, Retryable
from propagator.desired.model import DeliveredTarget
from tests.support.virtual_time import SECOND, now_micros, until, virtually
from tests.unit.sending.rig import Rig, decision, destination, key


def clock() -> float:
    return asyncio.get_running_loop().time()


def test_a_suppressed_target_takes_over_new_decisions_without_a_call() -> None:
    async def scenario() -> None:
        rig = Rig()
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending)
        rig.state.decide(key(1), decision("d2", "objected", at=now_micros() + SECOND))
        await until(lambda: rig.state.nothing_pending)
        assert len(rig.provider.calls) == 1
        assert rig.state.rows[key(1)]["t1"].decision_ids == ("d2",)
        adopted = [each for each in rig.state.receipts if each.decision_ids == ("d2",)]
        assert [(each.stage, each.detail) for each in adopted] == [
            ("accepted", "already suppressed"),
            ("effective", "already suppressed"),
        ]
        await rig.stop()

    virtually(scenario())


def test_a_purpose_without_a_target_is_reported_as_impossible_once() -> None:
    async def scenario() -> None:
        rig = Rig()
        await rig.start()
        rig.state.decide(key(1), decision("d1", purpose="survey"))
        await until(lambda: rig.state.nothing_pending)
        await asyncio.sleep(10)
        assert not rig.provider.calls
        assert rig.state.stages(key(1)) == ["impossible"]
        assert rig.sample("impossible_revocations") == 1
        rig.state.decide(key(1), decision("d2", "given", purpose="survey", at=now_micros() + SECOND))
        await asyncio.sleep(2)
        assert rig.sample("impossible_revocations") == 0, "superseded"
        await rig.stop()
        assert rig.sample("impossible_revocations") is None

    virtually(scenario())


def test_rows_of_an_erased_address_are_forgotten_once_nothing_is_left_to_send() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=1, per_second=1, burst=2))
        await rig.start()
        rig.state.decide(key(0), decision("d0"))
        await until(lambda: rig.state.nothing_pending)
        for number in range(1, 20):
            rig.state.decide(key(number), decision(f"d{number}"))
        rig.state.erase(key(0))
        await asyncio.sleep(5)
        assert not rig.state.forgotten
        await until(lambda: rig.state.forgotten == [key(0)], seconds=30)
        assert len(rig.provider.holds) == 20
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_many_records_are_worked_off_in_slices() -> None:
    async def scenario() -> None:
        rig = Rig()
        for number in range(2_500):
            rig.state.rows[key(number)] = {"t1": DeliveredTarget(target="t1", action="suppress", decision_ids=("old",))}
            rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        await until(lambda: rig.state.nothing_pending, seconds=20)
        assert not rig.provider.calls
        await rig.stop()

    virtually(scenario())


def test_an_entry_that_cannot_be_worked_on_does_not_stop_other_records() -> None:
    async def scenario() -> None:
        rig = Rig()
        for number in range(3):
            rig.state.rows[key(number)] = {"t1": DeliveredTarget(target="t1", action="suppress", decision_ids=("old",))}
            rig.state.decide(key(number), decision(f"d{number}"))
        rig.state.unreadable = {key(0): OverflowError(), key(1): RegistryUnavailableError("down")}
        await rig.start()
        await until(lambda: rig.state.rows[key(2)]["t1"].decision_ids == ("d2",), seconds=1)
        await asyncio.sleep(30)
        assert 1 <= (rig.sample("push_errors_total", stage="record") or 0) <= 4
        rig.state.unreadable.clear()
        await until(lambda: rig.state.nothing_pending, seconds=20)
        await rig.stop()

    virtually(scenario())


def test_a_paused_destination_sends_nothing_and_counts_its_backlog() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(paused=True))
        await rig.start()
        for number in range(5):
            rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(60)
        assert not rig.provider.calls
        assert not rig.provider.verifications
        assert not rig.state.receipts
        assert rig.sample("backlog", **{"class": "live", "kind": "suppress"}) == 5
        assert rig.sample("destination_paused") == 1
        assert 59 <= (rig.sample("oldest_pending_revocation_seconds", **{"class": "live"}) or 0) <= 61
        assert rig.verified == [True]
        assert rig.beats >= 59
        await rig.stop()

    virtually(scenario())


def test_the_gauges_of_a_worker_that_stopped_are_gone() -> None:
    async def scenario() -> None:
        rig = Rig()
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await asyncio.sleep(3)
        assert rig.sample("breaker_open") == 0
        assert rig.sample("delivered_until_timestamp_seconds") is not None
        await rig.stop()
        for name in ("breaker_open", "destination_verified", "pushes_in_flight", "delivered_until_timestamp_seconds"):
            assert rig.sample(name) is None
        assert rig.sample("backlog", **{"class": "live", "kind": "suppress"}) is None

    virtually(scenario())


def test_stopping_starts_nothing_new_and_waits_for_calls_in_flight() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.latency = 0.8
        await rig.start()
        for number in range(30):
            rig.state.decide(key(number), decision(f"d{number}"))
        await asyncio.sleep(0.1)
        calls = len(rig.provider.calls)
        assert calls == 4
        started_at = clock()
        await rig.stop(drain_seconds=1.0)
        assert clock() - started_at <= 1.0
        assert len(rig.provider.calls) == calls
        assert len(rig.state.rows) == calls

    virtually(scenario())


def test_a_call_that_outlasts_the_drain_is_cut_and_repeated_by_the_next_worker() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.latency = 10.0
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await asyncio.sleep(0.5)
        started_at = clock()
        await rig.stop(drain_seconds=1.0)
        assert 0.9 <= clock() - started_at <= 1.1
        assert not rig.state.rows
        rig.provider.latency = 0.02
        await rig.start()
        await until(lambda: rig.state.nothing_pending, seconds=2)
        first, second = [call.pushes[0].push_id for call in rig.provider.calls]
        assert first == second
        await rig.stop()

    virtually(scenario())


def test_one_target_of_an_address_is_never_in_two_calls() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(push_permissions=True))
        rig.provider.latency = 0.7
        await rig.start()
        for change in range(40):
            status = ("withdrawn", "given")[change % 2]
            rig.state.decide(key(1), decision(f"d{change}", status, at=now_micros() + change * 10 * SECOND))
            await asyncio.sleep(0.3)
        await until(lambda: rig.state.nothing_pending)
        assert rig.provider.overlaps == 0
        assert rig.provider.holds[key(1), "t1"] == "permit"
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_memory_does_not_grow_with_the_backlog_or_with_failing_addresses() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=25, mixed=True, per_second=50, burst=50))
        rig.state.import_bulk([key(number) for number in range(10_000)], at=now_micros() - 86_400 * SECOND)
        rig.provider.answer = lambda push: Retryable(reason="x") if int(push.address_key[-6:]) % 2 else Accepted()
        await rig.start()
        assert rig.worker is not None
        largest = 0
        for _ in range(40):
            await asyncio.sleep(0.5)
            largest = max(largest, rig.worker.in_memory)
        assert largest <= 2 * 2_000 + 4 * 25
        assert largest > 1_500
        await rig.stop()

    virtually(scenario())
