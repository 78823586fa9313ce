"""Call limits as the providers count them: so many calls in any window of so many seconds."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from provider_sandbox.config import Limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Whether one call fits, how many more would, and when (seconds from now) the window frees a place."""

    admitted: bool
    limit: int
    remaining: int
    reset_seconds: float


class SlidingWindow:
    """One account's window; refused calls do not count against it."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._calls: deque[float] = deque()

    def admit(self) -> Admission:
        limit = self._limit
        if limit.calls <= 0:
            return Admission(admitted=True, limit=0, remaining=0, reset_seconds=0.0)
        now = time.monotonic()
        while self._calls and self._calls[0] <= now - limit.seconds:
            self._calls.popleft()
        admitted = len(self._calls) < limit.calls
        if admitted:
            self._calls.append(now)
        return Admission(
            admitted=admitted,
            limit=limit.calls,
            remaining=limit.calls - len(self._calls),
            reset_seconds=self._calls[0] + limit.seconds - now,
        )
