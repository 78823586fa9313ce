"""Permissions: committed as in doubt before the call, held back alone, and overruled by every later suppression."""

import asyncio

from propagator.errors import DestinationDownError, SenderFencedError
from tests.support.virtual_time import SECOND, now_micros, until, virtually
from tests.unit.sending.rig import TIMEOUT, Rig, decision, destination, key


def permit(rig: Rig, number: int, name: str = "p") -> None:
    rig.state.decide(key(number), decision(f"{name}{number}", "given", at=now_micros() + 10 * SECOND))


def withdraw(rig: Rig, number: int, name: str = "w") -> None:
    rig.state.decide(key(number), decision(f"{name}{number}", at=now_micros() + 20 * SECOND))


def permitting() -> Rig:
    return Rig(destination=destination(push_permissions=True))


def test_a_permission_is_in_doubt_before_its_call_and_settled_after_it() -> None:
    async def scenario() -> None:
        rig = permitting()
        await rig.start()
        permit(rig, 1)
        await until(lambda: rig.state.nothing_pending)
        rows = [row for _, row in rig.state.commits]
        assert [(row.action, row.in_doubt) for row in rows] == [("permit", True), ("permit", False)]
        assert rig.provider.sent(key(1)) == ["permit"]
        await rig.stop()

    virtually(scenario())


def test_a_permission_that_may_not_go_waits_aside_and_holds_up_nothing() -> None:
    async def scenario() -> None:
        rig = permitting()
        await rig.start()
        for number in range(50):
            rig.state.hindrances[key(number)] = "restoring"
            permit(rig, number)
        permit(rig, 50)
        withdraw(rig, 51)
        await until(lambda: {key(50), key(51)} <= set(rig.state.rows), seconds=1.0)
        await asyncio.sleep(2.0)
        assert len(rig.provider.calls) == 2
        assert rig.sample("waiting_permissions") == 50
        rig.state.hindrances.clear()
        freed_at = asyncio.get_running_loop().time()
        await until(lambda: rig.state.nothing_pending)
        assert rig.provider.calls[2].at - freed_at <= 0.5
        await rig.stop()

    virtually(scenario())


def test_the_guard_asks_again_in_the_write_of_the_request() -> None:
    async def scenario() -> None:
        rig = permitting()
        await rig.start()
        record_now = rig.state.record_now

        async def withdrawn_meanwhile(*args: object, **more: object) -> None:
            await record_now(*args, **more)  # type: ignore[arg-type]
            withdraw(rig, 1)

        rig.state.record_now = withdrawn_meanwhile  # type: ignore[method-assign]
        permit(rig, 1)
        await until(lambda: rig.state.nothing_pending)
        assert rig.provider.sent(key(1)) == ["suppress"]
        assert rig.state.rows[key(1)]["t1"].in_doubt is False, "the permission was surely not sent"
        await rig.stop()

    virtually(scenario())


def test_a_permission_that_ends_while_it_waits_is_not_sent() -> None:
    async def scenario() -> None:
        rig = permitting()
        await rig.start()
        rig.state.hindrances[key(1)] = "old"
        ends_at = now_micros() + 20 * SECOND
        rig.state.decide(key(1), decision("p1", "given", at=now_micros() - 10 * SECOND, expires_at=ends_at))
        await asyncio.sleep(30)
        rig.state.hindrances.clear()
        await asyncio.sleep(5)
        assert "permit" not in rig.provider.sent(key(1))
        await rig.stop()

    virtually(scenario())


def test_a_permission_that_never_reached_the_destination_is_not_in_doubt() -> None:
    async def scenario() -> None:
        rig = permitting()
        rig.provider.unreachable = True
        await rig.start()
        permit(rig, 1)
        await until(lambda: len(rig.state.commits) >= 2)
        assert [row.in_doubt for _, row in rig.state.commits[:2]] == [True, False]
        rig.provider.unreachable = False
        withdraw(rig, 1)
        await until(lambda: rig.state.nothing_pending)
        assert rig.provider.sent(key(1)) == ["suppress"]
        await rig.stop()

    virtually(scenario())


def test_a_suppression_after_a_permission_that_timed_out_goes_at_once_and_once_more() -> None:
    async def scenario() -> None:
        rig = permitting()
        rig.provider.loses_answer = lambda pushes: (
            DestinationDownError("timeout") if pushes[0].action == "permit" else None
        )
        rig.provider.executes_late = TIMEOUT + 20
        await rig.start()
        permit(rig, 1)
        await asyncio.sleep(5)
        withdraw(rig, 1)
        await until(lambda: rig.provider.sent(key(1)) == ["permit", "suppress"], seconds=TIMEOUT)
        assert rig.provider.calls[1].at >= TIMEOUT, "not beside the permission in flight"
        await until(lambda: rig.provider.holds.get((key(1), "t1")) == "permit", seconds=30)
        await until(lambda: rig.state.nothing_pending, seconds=60)
        assert rig.provider.sent(key(1)) == ["permit", "suppress", "suppress"]
        assert rig.provider.calls[2].at - rig.provider.calls[1].at >= 2 * TIMEOUT
        assert rig.provider.holds[key(1), "t1"] == "suppress"
        assert not rig.state.rows[key(1)]["t1"].in_doubt
        assert rig.state.stages(key(1)).count("accepted") == 1
        ids = [call.pushes[0].push_id for call in rig.provider.calls]
        assert ids[1] != ids[2], "a receiver that drops ids it knows must not drop the repetition"
        await asyncio.sleep(120)
        assert len(rig.provider.calls) == 3
        await rig.stop()

    virtually(scenario())


def test_a_takeover_finds_the_permission_in_doubt_and_repeats_the_suppression() -> None:
    async def scenario() -> None:
        rig = permitting()
        rig.provider.loses_answer = lambda pushes: (
            DestinationDownError("timeout") if pushes[0].action == "permit" else None
        )
        rig.provider.executes_late = 20
        await rig.start()
        permit(rig, 1)
        await until(lambda: rig.provider.sent(key(1)) == ["permit"])
        await rig.kill()
        assert rig.state.rows[key(1)]["t1"].in_doubt
        withdraw(rig, 1)
        await rig.start()
        await until(lambda: rig.state.nothing_pending, seconds=60)
        assert rig.provider.sent(key(1)) == ["permit", "suppress", "suppress"]
        assert rig.provider.holds[key(1), "t1"] == "suppress"
        await rig.stop()

    virtually(scenario())


def test_a_takeover_between_suppression_and_repetition_repeats_it() -> None:
    async def scenario() -> None:
        rig = permitting()
        rig.provider.loses_answer = lambda pushes: (
            DestinationDownError("timeout") if pushes[0].action == "permit" else None
        )
        rig.provider.executes_late = TIMEOUT + 15
        await rig.start()
        permit(rig, 1)
        await asyncio.sleep(1)
        withdraw(rig, 1)
        await until(lambda: rig.provider.sent(key(1)) == ["permit", "suppress"])
        await asyncio.sleep(1)
        await rig.kill()
        await rig.start()
        await until(lambda: rig.state.nothing_pending, seconds=60)
        assert rig.provider.sent(key(1)) == ["permit", "suppress", "suppress"]
        assert rig.provider.holds[key(1), "t1"] == "suppress"
        await rig.stop()

    virtually(scenario())


def test_a_suppression_that_replaces_a_failing_permission_does_not_wait_for_its_backoff() -> None:
    async def scenario() -> None:
        rig = permitting()
        await rig.start()
        withdraw(rig, 0)
        await until(lambda: rig.state.nothing_pending)
        rig.provider.fails = lambda pushes: (
            DestinationDownError("http_500") if pushes[0].address_key == key(1) else None
        )
        rig.provider.latency = 0.5
        permit(rig, 1)
        for number in range(2, 60):
            withdraw(rig, number)
            await asyncio.sleep(1.0)
        rig.provider.fails = lambda _pushes: None
        started_at = asyncio.get_running_loop().time()
        withdraw(rig, 1)
        await until(lambda: rig.provider.holds.get((key(1), "t1")) == "suppress", seconds=5.0)
        assert asyncio.get_running_loop().time() - started_at < 3.0
        await rig.stop()

    virtually(scenario())


def test_a_sender_that_is_fenced_while_it_begins_a_permission_sends_nothing() -> None:
    async def scenario() -> None:
        rig = permitting()
        await rig.start()

        async def fenced(*_args: object, **_more: object) -> None:
            rig.state.fenced = True
            raise SenderFencedError

        rig.state.record_now = fenced  # type: ignore[method-assign]
        permit(rig, 1)
        withdraw(rig, 2)
        await asyncio.sleep(5)
        assert "permit" not in {each for call in rig.provider.calls for each in call.actions}
        await rig.stop()

    virtually(scenario())


def test_a_process_that_is_not_surely_active_sends_nothing_and_goes_on_when_it_is() -> None:
    async def scenario() -> None:
        rig = permitting()
        rig.state.sending = False
        await rig.start()
        withdraw(rig, 1)
        await asyncio.sleep(5)
        assert not rig.provider.calls
        rig.state.sending = True
        await until(lambda: rig.state.nothing_pending, seconds=1.0)
        await rig.stop()

    virtually(scenario())


def test_permissions_that_wait_for_their_commit_leave_a_connection_for_a_revocation() -> None:
    async def scenario() -> None:
        rig = permitting()

        async def slow(*_args: object, **_more: object) -> None:
            await asyncio.sleep(20)

        rig.state.record_now = slow  # type: ignore[method-assign]
        await rig.start()
        for number in range(10):
            permit(rig, number)
        await asyncio.sleep(1)
        withdraw(rig, 20)
        await until(lambda: rig.provider.sent(key(20)) == ["suppress"], seconds=0.2)
        await rig.stop()

    virtually(scenario())
