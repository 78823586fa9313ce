"""Steps that wait for a moment of their own: their retry, their turn when parked, leave to say "yes"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from propagator.backlog import Step


class Timers:
    """`due` gets each step at its moment, unless it has been cancelled. One event loop."""

    def __init__(self, due: Callable[[Step], None]) -> None:
        self._due = due
        self._handles: dict[Step, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._handles)

    @property
    def pressing(self) -> int:
        """Those whose chunk waits for them."""
        return sum(not (step.parked or step.repeat) for step in self._handles)

    def start(self, step: Step, seconds: float) -> None:
        self._handles[step] = asyncio.get_running_loop().call_later(seconds, self._fire, step)

    def release(self, which: Callable[[Step], bool], *, most: int | None = None) -> None:
        """Their moment has come early. A repetition keeps its own: before it, it would prove nothing."""
        found = [step for step in self._handles if not step.repeat and not step.cancelled and which(step)]
        for step in found[:most]:
            self._handles[step].cancel()
            self._fire(step)

    def stop(self) -> None:
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _fire(self, step: Step) -> None:
        del self._handles[step]
        if not step.cancelled:
            self._due(step)
