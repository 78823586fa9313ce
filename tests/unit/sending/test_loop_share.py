"""Slices of bulk work take turns, and leave the event loop to others in between."""

import asyncio

import pytest

from propagator.sending.loop_share import LIVE_SECONDS, LoopShare


@pytest.mark.parametrize("live", [True, False])
async def test_slices_take_turns_and_pause_while_there_is_live_work(live: bool) -> None:
    now = LIVE_SECONDS
    share = LoopShare(lambda: now)
    if live:
        share.note_live()
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
    paused = asyncio.get_running_loop().time() - began >= 4 * 0.01 * 0.9
    assert paused == live


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
