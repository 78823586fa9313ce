"""One push from the pending index to the provider, its row and its receipts."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from msgspec import structs

from propagator.connectors.base import Accepted, Outcome, Push, Refused, Retryable
from propagator.errors import DestinationDownError, TenantMismatchError
from propagator.sending.delivery import DeliveryPolicy
from propagator.sending.ports import Current
from tests.support.virtual_time import SECOND, START, now_micros, until, virtually
from tests.unit.sending.rig import KEYRING, Rig, decision, destination, key


def attempts_recorded(rig: Rig, number: int) -> int:
    row = rig.state.rows.get(key(number), {}).get("t1")
    return row.retry.attempts if row is not None and row.retry is not None else 0


def test_a_withdrawal_is_delivered_recorded_and_receipted() -> None:
    async def scenario() -> None:
        rig = Rig()
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending)
        [call] = rig.provider.calls
        [push] = call.pushes
        assert call.at < 0.2
        assert (push.address, push.action, push.target) == ("+33639980001", "suppress", "t1")
        row = rig.state.rows[key(1)]["t1"]
        assert (row.action, row.decision_ids, row.version, row.in_doubt) == ("suppress", ("d1",), push.version, False)
        assert rig.state.stages(key(1)) == ["accepted", "effective"]
        assert push.version >= START
        await rig.stop()
        assert rig.provider.closed

    virtually(scenario())


def test_the_last_receipt_of_a_suppression_says_what_it_binds_there() -> None:  # R28
    async def scenario() -> None:
        usual = destination(push_permissions=True)
        partly = replace(usual.connector_type, in_force=lambda target: f"binds {target} alone")
        rig = Rig(destination=replace(usual, connector_type=partly))
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        rig.state.decide(key(2), decision("d2", "given"))
        await until(lambda: rig.state.nothing_pending)
        receipts = [(each.action, each.stage, each.detail) for each in rig.state.receipts]
        assert sorted(receipts, key=str) == [
            ("permit", "accepted", None),
            ("permit", "effective", None),
            ("suppress", "accepted", None),
            ("suppress", "effective", "binds t1 alone"),
        ]
        await rig.stop()

    virtually(scenario())


def test_latency_is_measured_by_class_and_action() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(push_permissions=True))
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        rig.state.decide(key(2), decision("d2", bulk=True))
        rig.state.decide(key(3), decision("d3", "given"))
        await until(lambda: rig.state.nothing_pending)
        for name, action in (("live", "suppress"), ("bulk", "suppress"), ("live", "permit")):
            labels = {"channel": "sms", "destination": "tool", "class": name, "action": action}
            assert rig.registry.get_sample_value("consent_relay_propagation_latency_seconds_count", labels) == 1
        await rig.stop()

    virtually(scenario())


def test_a_refusal_of_one_address_is_final_and_reported_as_impossible() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.answer = lambda _push: Refused(code="21211")
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending)
        assert rig.state.rows[key(1)]["t1"].refused == "21211"
        assert rig.state.stages(key(1)) == ["impossible"]
        await until(lambda: rig.sample("impossible_revocations") == 1)
        assert rig.sample("backlog", **{"class": "bulk", "kind": "record"}) == 0
        await rig.stop()

    virtually(scenario())


def test_an_entry_without_an_address_is_impossible_where_the_address_is_required() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.state.seal = lambda _key: None
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending)
        assert rig.state.rows[key(1)]["t1"].refused == "no_address"
        assert not rig.provider.calls
        await rig.stop()

    virtually(scenario())


@pytest.mark.parametrize("wrong", [None, b"\xff" * 40, b"\x02z9" + b"\xff" * 40])
def test_what_could_not_be_unsealed_is_delivered_once_the_entry_has_another_seal(wrong: bytes | None) -> None:  # R28
    async def scenario() -> None:
        rig = Rig()
        genuine = rig.state.seal
        rig.state.seal = lambda _key: wrong
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: len(rig.state.stages(key(1))) == 1)
        assert not rig.provider.calls
        rig.state.seal = genuine
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending)
        assert rig.state.rows[key(1)]["t1"].refused is None
        assert rig.state.stages(key(1))[1:] == ["accepted", "effective"]
        await until(lambda: rig.sample("impossible_revocations") == 0)
        await rig.stop()

    virtually(scenario())


def test_where_the_address_is_not_required_it_is_not_unsealed() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(address_required=False))
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending)
        assert rig.provider.calls[0].pushes[0].address == ""
        await rig.stop()

    virtually(scenario())


def test_another_tenants_entry_is_never_built() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.state.decide(key(1), decision("d1"))
        policy = DeliveryPolicy(
            rig.destination,
            rig.state,
            lambda: KEYRING,
            rig.metrics,
            now_micros=now_micros,
            backoff=lambda _failures: 0.0,
        )
        delivery = policy.plan(key(1), "t1", queued_at=0)
        assert delivery is not None
        foreign = structs.replace(delivery, entry=replace(delivery.entry, tenant="globex"))
        with pytest.raises(TenantMismatchError):
            policy.build(foreign)

    virtually(scenario())


def test_another_tenants_entry_that_a_faulty_state_plans_is_not_sent() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.state.decide(key(1), decision("d1"))
        current = rig.state.current

        def faulty(address_key: str) -> Current:
            found = current(address_key)
            return structs.replace(found, entry=replace(found.entry, tenant="globex")) if found.entry else found

        rig.state.current = faulty  # type: ignore[method-assign]
        await rig.start()
        await asyncio.sleep(60)
        assert not rig.provider.calls
        assert (rig.sample("push_errors_total", stage="build") or 0) >= 1
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_a_failing_address_backs_off_in_its_row_and_never_delays_others() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=10))

        def answer(push: Push) -> Outcome:
            return Retryable(reason="item_1") if push.address_key == key(0) else Accepted()

        rig.provider.answer = answer
        await rig.start()
        rig.state.decide(key(0), decision("d0"))
        for number in range(1, 200):
            rig.state.decide(key(number), decision(f"d{number}"))
            await until(partial(rig.state.rows.__contains__, key(number)), seconds=1.0)
        await until(lambda: attempts_recorded(rig, 0) >= 9, seconds=300)
        retry = rig.state.rows[key(0)]["t1"].retry
        assert retry is not None
        assert 30 * SECOND <= retry.retry_at - now_micros() + SECOND <= 61 * SECOND
        assert rig.state.stages(key(0)).count("failed") == 2, (
            "at the first failure and when the backoff passes a minute"
        )
        rig.provider.answer = lambda _push: Accepted()
        await until(lambda: rig.state.nothing_pending, seconds=120)
        await rig.stop()

    virtually(scenario())


@pytest.mark.long
def test_the_backoff_of_an_address_outlives_the_worker() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.provider.answer = lambda push: Retryable(reason="x") if push.address_key == key(0) else Accepted()
        await rig.start()
        rig.state.decide(key(0), decision("d0"))
        number = 0

        async def others() -> None:
            nonlocal number
            number += 1
            rig.state.decide(key(number), decision(f"d{number}"))
            await until(lambda: key(number) in rig.state.rows)

        while attempts_recorded(rig, 0) < 6:
            await others()
        retry_at = rig.state.rows[key(0)]["t1"].retry.retry_at  # type: ignore[union-attr]
        await rig.kill()
        await rig.start()
        sent = len(rig.provider.sent(key(0)))
        await until(lambda: len(rig.provider.sent(key(0))) > sent)
        assert now_micros() >= retry_at
        await rig.stop()

    virtually(scenario())


def test_an_exception_while_one_push_is_built_concerns_that_address() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.state.unreadable[key(1)] = OverflowError("year 11476")
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        rig.state.decide(key(2), decision("d2"))
        await until(lambda: key(2) in rig.state.rows, seconds=1.0)
        assert rig.sample("push_errors_total", stage="build") == 1
        del rig.state.unreadable[key(1)]
        await until(lambda: rig.state.nothing_pending, seconds=20.0)
        await rig.stop()

    virtually(scenario())


def test_an_exception_while_one_answer_is_read_concerns_that_address() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=10))
        record = rig.state.record
        broken = {key(1)}

        def fragile(address_key: str, *rest: object, **more: object) -> None:
            if address_key in broken:
                raise OverflowError
            record(address_key, *rest, **more)  # type: ignore[arg-type]

        rig.state.record = fragile  # type: ignore[method-assign]
        await rig.start()
        for number in range(5):
            rig.state.decide(key(number), decision(f"d{number}"))
        await until(lambda: len(rig.state.rows) == 4, seconds=1.0)
        broken.clear()
        await until(lambda: rig.state.nothing_pending, seconds=20.0)
        await rig.stop()

    virtually(scenario())


def test_a_connector_that_raises_a_bug_for_one_push_of_a_batch_loses_no_other() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(batch=10))

        def answer(push: Push) -> Outcome:
            if push.address_key == key(3):
                raise ZeroDivisionError
            return Accepted()

        rig.provider.answer = answer
        await rig.start()
        for number in range(10):
            rig.state.decide(key(number), decision(f"d{number}"))
        await until(lambda: sum("t1" in row and row["t1"].retry is None for row in rig.state.rows.values()) == 9)
        assert (rig.sample("push_errors_total", stage="call") or 0) >= 1
        await rig.stop()

    virtually(scenario())


def test_retries_of_one_call_keep_their_id_and_a_later_state_has_another() -> None:
    async def scenario() -> None:
        rig = Rig(destination=destination(push_permissions=True))
        failing = [DestinationDownError("http_500")] * 2
        rig.provider.fails = lambda _pushes: failing.pop() if failing else None
        await rig.start()
        rig.state.decide(key(1), decision("d1"))
        await until(lambda: rig.state.nothing_pending)
        first = [call.pushes[0].push_id for call in rig.provider.calls]
        assert len(first) == 3
        assert len(set(first)) == 1
        later = now_micros() + 10 * SECOND
        rig.state.decide(key(1), decision("d1"), decision("d2", "given", at=later))
        await until(lambda: rig.provider.holds.get((key(1), "t1")) == "permit")
        rig.state.decide(key(1), decision("d1", at=later + 10 * SECOND))
        await until(lambda: rig.provider.holds[key(1), "t1"] == "suppress")
        assert rig.provider.calls[-1].pushes[0].push_id not in first
        versions = [call.pushes[0].version for call in rig.provider.calls]
        assert versions == sorted(versions)
        await rig.stop()

    virtually(scenario())
