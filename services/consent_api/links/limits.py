"""How often one link may be used, and how often one caller may try links that are none. Pure, but for the clock.

A good link is limited by itself alone: mail providers post the clicks of all their users from a few addresses. So a
caller who guesses is slowed down, and no one else is.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_MOST_REMEMBERED = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """`burst` uses at once, and `every` seconds one more."""

    burst: int
    every: float


CHANGES = Allowance(burst=10, every=10.0)
"""Of one link."""
LOOKS = Allowance(burst=60, every=1.0)
"""At the pages of one link that read the ledger."""
CODES = Allowance(burst=10, every=60.0)
"""That one caller asks for. Those of one address are limited in the ledger (`codes`)."""
CODE_TRIES = Allowance(burst=20, every=10.0)
"""Of one caller."""
GUESSES = Allowance(burst=30, every=2.0)
"""Of one caller."""


class Uses:
    """For one thread. It remembers those of late alone, so that it does not grow."""

    def __init__(self, allowance: Allowance, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance = allowance
        self._clock = clock
        self._paid_until: OrderedDict[Hashable, float] = OrderedDict()

    def wait_seconds(self, whose: Hashable) -> int:
        """Take one use: 0; or none, and the seconds until there is one."""
        now, every = self._clock(), self._allowance.every
        paid_until = max(self._paid_until.pop(whose, now), now)
        excess = paid_until + every - now - self._allowance.burst * every
        if excess <= 0:
            paid_until += every
        self._paid_until[whose] = paid_until
        if len(self._paid_until) > _MOST_REMEMBERED:
            self._paid_until.popitem(last=False)
        return max(math.ceil(excess), 0)
