"""An event loop in which time passes only when nothing else can happen, and then at once."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from typing import Any

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class VirtualLoop(asyncio.SelectorEventLoop):
    now = 0.0
    _timer_cancelled_count: int

    def __init__(self) -> None:
        super().__init__()
        self.awaited: dict[asyncio.Future[None], Callable[[], bool]] = {}
        """Conditions that tests wait for. Each is looked at again once something has run, rather than at intervals."""

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(timers)._scheduled = False
        if not self._ready and timers:  # type: ignore[attr-defined]
            self.now = max(self.now, timers[0].when())
        super()._run_once()  # type: ignore[misc]
        for reached, condition in self.awaited.items():
            if not reached.done() and condition():
                reached.set_result(None)


def virtually(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in virtual time, and leave no task."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()


def now_micros() -> int:
    """The wall clock of the virtual world."""
    return START + int(asyncio.get_running_loop().time() * SECOND)


async def until(condition: Callable[[], bool], *, seconds: float = 600.0) -> None:
    """Returns once the condition holds; virtual seconds."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    if condition():
        return
    reached = loop.create_future()
    loop.awaited[reached] = condition
    try:
        async with asyncio.timeout(seconds):
            await reached
    finally:
        del loop.awaited[reached]
