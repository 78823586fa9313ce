"""What the feeds of one destination share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from consent_contracts.codec import Codec
from consent_runtime.keyring import Keyring
from propagator.ahead import Ahead
from propagator.config import Destination
from propagator.dispatch import Dispatcher
from propagator.metrics import Metrics
from propagator.receipts import Receipts


class DeadLetters(Protocol):
    """Returns only after the broker has acknowledged the dead letter."""

    async def send(self, record: Any, reason: str, error: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Room:
    """One destination's clients, limits and clock. The partitions of a worker stand in the same room."""

    destination: Destination
    keyring: Keyring
    codec: Codec
    dispatcher: Dispatcher
    receipts: Receipts
    dead_letters: DeadLetters
    metrics: Metrics
    ahead: Ahead | None
    """None: no permission is ever pushed."""
    on_bug: Callable[[BaseException], None]
    on_waiting: Callable[[int, str | None], None] = lambda _partition, _reason: None
    """Told why a partition's entries cannot be read for now, and None once they can."""
    now: Callable[[], int] = lambda: time.time_ns() // 1000
    rng: random.Random = field(default_factory=random.Random)

    def count(self, action: str, outcome: str) -> None:
        """A push has ended like this."""
        self.metrics.pushes.labels(self.destination.name, action, outcome).inc()
