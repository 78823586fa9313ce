"""How long the relay sleeps between two looks at the outbox, and after a failure."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PollInterval:
    """Seconds. Under traffic the outbox is read every `shortest`, when idle every `longest`."""

    shortest: float = 0.003
    longest: float = 0.020
    first_retry: float = 0.1
    last_retry: float = 5.0

    def next(self, *, found: int, limit: int, previous: float) -> float:
        """The next sleep: none while batches come back full, growing from `shortest` while they come back empty."""
        if found >= limit:
            return 0.0
        if found > 0:
            return self.shortest
        return min(max(previous * 2, self.shortest), self.longest)

    def backoff(self, failures: int) -> float:
        """The sleep after the n-th failure in a row (from 1): doubling, half of it random so that relays spread."""
        ceiling = min(self.first_retry * 2.0 ** min(failures - 1, 30), self.last_retry)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
