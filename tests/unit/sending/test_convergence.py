"""Any interleaving of decisions, failures, lost answers, crashes and takeovers ends with the tool equal to the list."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from propagator.connectors.base import Accepted, Outcome, Push, Retryable
from propagator.errors import CallFailedError, DestinationDownError, ThrottledError
from tests.support.virtual_time import SECOND, now_micros, until, virtually
from tests.unit.sending.rig import Rig, decision, destination, key

ADDRESSES = 8


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 8))])
def test_delivered_state_converges_to_desired_state_and_nothing_wrong_is_ever_permitted(seed: int) -> None:  # R43
    async def scenario() -> None:
        rng = random.Random(seed)
        targets = {"newsletter": ("t1", "t2"), "survey": ("t2",)}
        rig = Rig(
            destination=destination(
                targets=targets, batch=rng.choice([1, 3, 25]), mixed=rng.random() < 0.5, push_permissions=True
            )
        )
        provider = rig.provider
        provider.executes_late = rng.choice([0.5, 20.0, 28.0])
        provider.connecting = rng.choice([0.0, 0.3, 1.0])
        wrongly_permitted: list[str] = []
        troubled = True

        def answer(push: Push) -> Outcome:
            return Retryable(reason="item") if troubled and rng.random() < 0.1 else Accepted()

        def fails(_pushes: Sequence[Push]) -> CallFailedError | None:
            if not troubled or rng.random() < 0.85:
                return None
            return rng.choice([DestinationDownError("http_500"), ThrottledError("throttled", retry_after=3.0)])

        def loses_answer(pushes: Sequence[Push]) -> CallFailedError | None:
            for push in pushes:
                if push.action == "permit" and not permitted(rig, push):
                    wrongly_permitted.append(push.address_key)
            return DestinationDownError("timeout") if troubled and rng.random() < 0.2 else None

        provider.answer, provider.fails, provider.loses_answer = answer, fails, loses_answer
        await rig.start(seed)
        for step in range(120):
            number = rng.randrange(ADDRESSES)
            decide(rig, rng, number, step)
            if rng.random() < 0.1:
                rig.state.hindrances = {key(each): "old" for each in range(ADDRESSES) if rng.random() < 0.5}
            if rng.random() < 0.05:
                await (rig.kill() if rng.random() < 0.5 else rig.stop())
                await asyncio.sleep(rng.choice([0.0, 1.0, 40.0]))
                await rig.start(seed)
            await asyncio.sleep(rng.expovariate(1.0))
        troubled = False
        rig.state.hindrances.clear()
        await until(lambda: rig.state.nothing_pending, seconds=4_000)
        await asyncio.sleep(2 * 15 + 30)
        assert rig.state.nothing_pending
        for address in rig.state.entries:
            for target in ("t1", "t2"):
                row = rig.state.rows.get(address, {}).get(target)
                assert provider.holds.get((address, target)) == (row.action if row is not None else None)
                assert row is None or not row.in_doubt
        assert not wrongly_permitted
        assert provider.overlaps == 0
        await rig.stop()

    virtually(scenario())


def decide(rig: Rig, rng: random.Random, number: int, step: int) -> None:
    """Each address keeps its newest decision for each purpose."""
    purpose = rng.choice(["newsletter", "survey"])
    status = rng.choice(["given", "withdrawn", "withdrawn"])
    ends = now_micros() + rng.randrange(5, 60) * SECOND if status == "given" and rng.random() < 0.3 else None
    made = decision(
        f"d{step}",
        status,
        purpose=purpose,
        at=now_micros(),
        effective_at=now_micros() + 10 * step * SECOND,
        expires_at=ends,
        bulk=rng.random() < 0.3,
    )
    entry = rig.state.entries.get(key(number))
    kept = [each for each in (entry.decisions if entry is not None else ()) if each.purpose != purpose]
    rig.state.decide(key(number), *kept, made)
    if ends is not None:
        # The merge writes an entry again when a permission in it ends.
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + (ends - now_micros()) / SECOND, rig.state.replan, [key(number)])


def permitted(rig: Rig, push: Push) -> bool:
    """Whether the newest entry permits all that the push permits, now."""
    planned = rig.state.current(push.address_key).plan.pushes
    return any(each.state.target == push.target and each.state.action == "permit" for each in planned)
