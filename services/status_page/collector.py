"""Asks all processes at an interval, and wakes those who show it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection

from consent_service.clock import elapsed_seconds
from consent_service.health import Health
from status_page.metrics import StatusMetrics
from status_page.observed import Answer, Observed, Silence
from status_page.settings import Target

log = logging.getLogger(__name__)

PART = "collector"


class Collector:
    """Belongs to one event loop. ``find``: the instances that there are now. ``read`` never raises for what a process
    answers."""

    def __init__(
        self,
        observed: Observed,
        find: Callable[[], Awaitable[Collection[Target]]],
        read: Callable[[Target], Awaitable[Answer | Silence]],
        *,
        metrics: StatusMetrics,
        health: Health,
    ) -> None:
        self._observed = observed
        self._find = find
        self._read = read
        self._metrics = metrics
        self._health = health
        self._turned = asyncio.Event()
        self.stopping = False

    async def run(self) -> None:
        """Until it is cancelled. A turn that takes longer than the interval is followed by the next at once."""
        while True:
            begun = elapsed_seconds()
            await self.turn()
            await asyncio.sleep(max(0.0, self._observed.interval - (elapsed_seconds() - begun)))

    async def turn(self) -> None:
        """One read of every process, all at once."""
        with self._metrics.turn_seconds.time():
            targets = await self._find()
            answers = await asyncio.gather(*(self._read(each) for each in targets))
            read = {each.name: answer for each, answer in zip(targets, answers, strict=True)}
            self._observed.set_instances(targets)
            self._count(read)
            self._observed.add(read, at=time.time(), elapsed=elapsed_seconds())
        self._health.heartbeat(PART)
        self._health.set_ready(PART)
        self._turned.set()
        if not self.stopping:
            self._turned = asyncio.Event()

    def stop(self) -> None:
        """Wake those who wait, for the last time."""
        self.stopping = True
        self._turned.set()

    async def wait(self, seconds: float) -> bool:
        """Whether a turn has ended within that time; at once where the process stops."""
        try:
            async with asyncio.timeout(seconds):
                await self._turned.wait()
        except TimeoutError:
            return False
        return True

    def _count(self, read: dict[str, Answer | Silence]) -> None:
        before = self._observed.processes
        for name, answer in read.items():
            outcome = answer.reason if isinstance(answer, Silence) else "done"
            self._metrics.scrapes.labels(before[name].target.process, outcome).inc()
            was_silent = before[name].silent_since is not None
            if isinstance(answer, Silence) and not was_silent:
                log.warning("a process gives no metrics", extra={"of": name, "why": answer.reason})
            elif isinstance(answer, Answer) and was_silent:
                log.info("a process gives metrics again", extra={"of": name})
