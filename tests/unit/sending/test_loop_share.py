"""Slices of bulk work take turns, and leave the event loop to others in between."""

import asyncio

from propagator.sending.loop_share import PAUSE_SHARES, LoopShare


async def test_slices_take_turns_with_a_pause_after_each() -> None:
    now = 0.0
    share = LoopShare(lambda: now)
    order: list[str] = []

    async def work(name: str) -> None:
        nonlocal now
        for _ in range(2):
            async with share.slice():
                order.append(name)
                now += 0.01

    began = asyncio.get_running_loop().time()
    await asyncio.gather(work("a"), work("b"))
    assert order == ["a", "b", "a", "b"], "first come, first served"
    assert asyncio.get_running_loop().time() - began >= 4 * PAUSE_SHARES * 0.01 * 0.9


async def test_a_slice_that_is_cancelled_gives_its_turn_back() -> None:
    share = LoopShare(lambda: 0.0)
    entered = asyncio.Event()

    async def wait() -> None:
        async with share.slice():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5), share.slice():
        pass
