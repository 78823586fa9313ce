"""Everything that sends to one destination, put together. One event loop; no Kafka, no HTTP of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from consent_runtime.keyring import Keyring
from propagator.config.model import Destination
from propagator.connectors.base import Connector
from propagator.metrics import Metrics
from propagator.sending.ports import DestinationState, PendingPush


class DestinationWorker:
    """Sends what is pending for one destination, from `start` to `stop`: while this process is the active sender.

    `on_fatal_error` gets a bug of ours that is not about one address; the process is to end. `on_verified` gets True
    once the tool knows our account, or why not. `heartbeat` is called at least once a second while the loop runs.
    `now_micros` is the wall clock, microseconds since the epoch.
    """

    def __init__(
        self,
        destination: Destination,
        connector: Connector,
        state: DestinationState,
        keyring: Keyring,
        metrics: Metrics,
        *,
        on_fatal_error: Callable[[BaseException], None],
        on_verified: Callable[[bool | str], None] = lambda _state: None,
        heartbeat: Callable[[], None] = lambda: None,
        now_micros: Callable[[], int] = lambda: time.time_ns() // 1_000,
        rng: random.Random | None = None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Begin: verify the account, then send what is pending. A paused destination only exports its gauges."""
        raise NotImplementedError

    async def stop(self, drain_seconds: float) -> None:
        """Start nothing new, give calls in flight `drain_seconds`, cancel the rest and close the connector."""
        raise NotImplementedError

    def offer(self, pushes: Sequence[PendingPush]) -> None:
        """Rows of the pending index that are new or have changed. Called on the event loop; returns at once."""
        raise NotImplementedError
