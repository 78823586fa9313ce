"""Tells how much is pending, and for how long, and whether the relay gets anywhere: in a thread of its own, because a
relay that is stuck must show."""

import math
import threading
import time
from collections.abc import Callable

from consent_runtime.observability import Health
from consent_runtime.progress import Progress

from .loop import UNREACHABLE
from .metrics import RelayMetrics
from .outbox_table import Backlog, Outbox

_EVERY = 1.0
_PART = "outbox"


class Watch:
    """Measures the outbox each second, or ten times less often than the measuring takes, if that is longer."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        metrics: RelayMetrics,
        health: Health,
        progress: Progress,
        stalled_after: float,
        set_aside: Callable[[], int],
    ) -> None:
        """`progress` is the relay's own: it moves when the broker has answered, and while the relay says what it
        waits for. `stalled_after` is its bound; `set_aside`, how many rows the broker has refused."""
        self._progress = progress
        self._stalled_after = stalled_after
        self._set_aside = set_aside
        self._outbox = outbox
        self._metrics = metrics
        self._health = health

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            self._health.beat("outbox-watch")
            started = time.monotonic()
            self.look()
            pause = max(_EVERY, 10 * (time.monotonic() - started))

    def look(self) -> None:
        try:
            backlog = self._outbox.backlog()
        except UNREACHABLE:
            self._metrics.pending.set(math.nan)
            self._metrics.oldest.set(math.nan)
            return  # The relay says so itself.
        self._metrics.pending.set(backlog.pending)
        self._metrics.oldest.set(backlog.oldest_seconds)
        self._health.ready(_PART, self._state(backlog))

    def _state(self, backlog: Backlog) -> bool | str:
        """Rows that another relay publishes do not grow old; rows that the broker refuses are no fault of ours."""
        if backlog.oldest_seconds <= self._stalled_after or backlog.pending <= self._set_aside():
            self._progress.moved()
        seconds = self._progress.stalled()
        return seconds is None or f"{backlog.pending} rows wait, and none was published for {seconds:.0f} s"
