"""Tells how much is pending, and for how long: in a thread of its own, because a relay that is stuck must show."""

import math
import threading
import time

from consent_runtime.observability import Health

from .loop import UNREACHABLE
from .metrics import RelayMetrics
from .outbox import Outbox

_EVERY = 1.0


class Watch:
    """Measures the outbox each second, or ten times less often than the measuring takes, if that is longer."""

    def __init__(self, *, outbox: Outbox, metrics: RelayMetrics, health: Health) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._health = health

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            self._health.beat("outbox-watch")
            started = time.monotonic()
            try:
                backlog = self._outbox.backlog()
            except UNREACHABLE:
                self._metrics.pending.set(math.nan)
                self._metrics.oldest.set(math.nan)
            else:
                self._metrics.pending.set(backlog.pending)
                self._metrics.oldest.set(backlog.oldest_seconds)
            pause = max(_EVERY, 10 * (time.monotonic() - started))
