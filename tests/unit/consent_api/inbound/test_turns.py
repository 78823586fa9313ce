"""However many webhooks are ready, whatever else is ready waits for a few of them (R46)."""

from __future__ import annotations

import asyncio

import pytest

from consent_api.inbound.turns import LoopTurns


async def test_between_two_turns_of_another_request_a_few_webhooks_go_on() -> None:
    turns, gone, between = LoopTurns(8), 0, []

    async def webhook() -> None:
        nonlocal gone
        for _ in range(3):
            await turns.wait()
            gone += 1

    async def other() -> None:
        before = gone
        while gone < 300:
            await asyncio.sleep(0)
            between.append(gone - before)
            before = gone

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(webhook())
        group.create_task(other())
    assert max(between) <= 8
    assert sum(between) == 300
    assert len(between) < 300 / 8 + 10  # and the webhooks are not held up either


async def test_they_go_on_in_their_order_and_one_that_was_cancelled_takes_no_turn() -> None:
    turns = LoopTurns(2)
    went: list[int] = []

    async def webhook(number: int) -> None:
        await turns.wait()
        went.append(number)

    tasks = [asyncio.create_task(webhook(number)) for number in range(6)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert went == [0, 2, 3, 4, 5]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    await asyncio.wait_for(webhook(6), 10)
    assert went[-1] == 6
