"""How long the relay sleeps between two looks at the outbox."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PollInterval:
    """Seconds. Under traffic the outbox is read every `shortest`, when idle every `longest`."""

    shortest: float = 0.003
    longest: float = 0.020

    def next(self, *, found: int, limit: int, previous: float) -> float:
        """The next sleep: none while batches come back full, growing from `shortest` while they come back empty."""
        if found >= limit:
            return 0.0
        if found > 0:
            return self.shortest
        return min(max(previous * 2, self.shortest), self.longest)
