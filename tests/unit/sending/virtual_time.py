"""An event loop in which time passes only when nothing else can happen, and then at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class VirtualLoop(asyncio.SelectorEventLoop):
    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


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
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while not condition():
        assert clock() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)
