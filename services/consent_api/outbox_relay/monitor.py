"""Measures, by lane, how much is pending and for how long, how old the resolved timestamp is, and whether the relay
gets anywhere: in a thread of its own, because a relay that is stuck must show."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from consent_api.ledger import backlog
from consent_api.ledger.backlog import OutboxBacklog
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.outbox_table import UNREACHABLE, OutboxTable
from consent_api.outbox_relay.timing import RESOLVED_AGE_LIMIT_SECONDS
from consent_service.health import Health
from consent_service.stall_timer import StallTimer

PART = "outbox-monitor"
_INTERVAL_SECONDS = 1.0


class ResolvedAge:
    """How old a lane's resolved timestamp is, whichever relay published it. Raises DBAPIError."""

    def __init__(self, engine: Engine, lane: Lane) -> None:
        self._engine = engine
        self._lane = lane

    def seconds(self) -> float:
        """Of the oldest partition; NaN until each has one."""
        with self._engine.connect() as connection:
            return backlog.resolved_age(connection, self._lane)


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitoredLane:
    """`progress` is the lane's own: it moves when the broker has answered, and while the relay reports what it waits
    for. `stalled_after` is its bound; `rejected_count`, how many rows the broker has refused."""

    lane: Lane
    outbox: OutboxTable
    resolved_age: ResolvedAge
    progress: StallTimer
    stalled_after: float
    rejected_count: Callable[[], int]


class OutboxMonitor:
    """Measures each second, or ten times less often than the measuring takes, if that is longer."""

    def __init__(self, *, lanes: Sequence[MonitoredLane], metrics: RelayMetrics, health: Health) -> None:
        self._lanes = lanes
        self._metrics = metrics
        self._health = health

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            self._health.heartbeat(PART)
            started = time.monotonic()
            for each in self._lanes:
                self.check(each)
            pause = max(_INTERVAL_SECONDS, 10 * (time.monotonic() - started))

    def check(self, lane: MonitoredLane) -> None:
        name = lane.lane.value
        try:
            found = lane.outbox.backlog()
            age = lane.resolved_age.seconds()
        except UNREACHABLE:
            for gauge in (self._metrics.pending, self._metrics.oldest, self._metrics.resolved_age):
                gauge.labels(name).set(math.nan)
            return  # The relay reports that itself.
        self._metrics.pending.labels(name).set(found.pending)
        self._metrics.oldest.labels(name).set(found.oldest_seconds)
        self._metrics.resolved_age.labels(name).set(age)
        self._health.set_ready(f"{name}-outbox", _backlog_readiness(lane, found))
        self._health.set_ready(f"{name}-resolved", resolved_readiness(lane.lane, age))


def _backlog_readiness(lane: MonitoredLane, found: OutboxBacklog) -> bool | str:
    """Rows that another relay publishes do not grow old; rows that the broker refuses are no fault of this relay."""
    if found.oldest_seconds <= lane.stalled_after or found.pending <= lane.rejected_count():
        lane.progress.progressed()
    seconds = lane.progress.stalled_for()
    return seconds is None or f"{found.pending} rows wait, and none was published for {seconds:.0f} s"


def resolved_readiness(lane: Lane, age_seconds: float) -> bool | str:
    """True, or what the health page states; NaN: there is no resolved timestamp yet."""
    if math.isnan(age_seconds):
        return "no resolved timestamp has been published yet"
    if age_seconds <= RESOLVED_AGE_LIMIT_SECONDS[lane]:
        return True
    return f"the resolved timestamp is {age_seconds:.0f} s old"
