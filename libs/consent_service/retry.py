"""Trying again: how long to wait after failures, and the two loops, for a thread and for an event loop, that do.

Only for work that is repeated until it succeeds or its process stops. A loop that looks at something every few seconds
needs none of this: its next look is the next try.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from consent_service.errors import RetryStoppedError

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

_RNG = random.Random()  # noqa: S311 - spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pauses after the first, second, ... failure in a row, in seconds; the last one is for all that follow.

    `jitter` is the part of each pause that is random, so that clients do not return together (AWS Architecture Blog,
    "Exponential Backoff And Jitter"): 0 for none, 0.5 for equal jitter, 1 for full jitter.
    """

    pauses: tuple[float, ...]
    jitter: float = 0.0

    def seconds(self, failures: int, rng: random.Random = _RNG) -> float:
        """The pause after so many failures in a row (1 = the first)."""
        longest = self.pauses[min(max(failures, 1), len(self.pauses)) - 1]
        return longest - rng.uniform(0.0, longest * self.jitter)


@dataclass(frozen=True, slots=True)
class Failure(Generic[E]):
    """`count`: how many in a row, this one included. `is_news`: the one before said something else, or there was
    none."""

    error: E
    count: int
    is_news: bool

    def next(self, error: E) -> Failure[E]:
        return Failure(error, self.count + 1, str(error) != str(self.error))


def retry(
    attempt: Callable[[], T],
    *,
    on: type[E] | tuple[type[E], ...],
    backoff: Backoff,
    stop: threading.Event,
    report: Callable[[Failure[E]], None],
) -> T:
    """What `attempt` returns, once it does not fail with `on`. It is tried at once, and after each pause.

    `report` is called within the handler of each failure, but for one that meets `stop`; what it raises ends the
    tries. Raises RetryStoppedError as soon as `stop` is set during a pause or a failed attempt.
    """
    failure: Failure[E] | None = None
    while True:
        try:
            return attempt()
        except on as error:
            if stop.is_set():
                raise RetryStoppedError from error
            failure = failure.next(error) if failure is not None else Failure(error, 1, True)
            report(failure)
        if stop.wait(backoff.seconds(failure.count)):
            raise RetryStoppedError from failure.error


async def retry_async(
    attempt: Callable[[], Awaitable[T]],
    *,
    on: type[E] | tuple[type[E], ...],
    backoff: Backoff,
    report: Callable[[Failure[E]], None],
) -> T:
    """As `retry`, on an event loop. Cancelling the task stops it."""
    failure: Failure[E] | None = None
    while True:
        try:
            return await attempt()
        except on as error:
            failure = failure.next(error) if failure is not None else Failure(error, 1, True)
            report(failure)
        await asyncio.sleep(backoff.seconds(failure.count))
