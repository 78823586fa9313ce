"""How far the lanes are carried, checked by the API: the processes that carry them export nothing once dead."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping

from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from consent_api.errors import LedgerUnavailableError
from consent_api.http.metrics import LaneMetrics
from consent_api.ledger import backlog
from consent_api.ledger.backlog import OutboxBacklog
from consent_api.ledger.database import transact
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.timing import RESOLVED_AGE_LIMIT_SECONDS

log = logging.getLogger(__name__)

_CHECK_INTERVAL_SECONDS = 2.0


class LaneMonitor:
    """For the API process: how far what it recorded has been carried. The processes that carry it export that too, but
    not once they are dead."""

    def __init__(self, *, engine: Engine, inbound: Mapping[Lane, str], metrics: LaneMetrics) -> None:
        """`engine` serves this monitor alone; `inbound` names the topic from which a lane's submissions come."""
        self._engine = engine
        self._inbound = inbound
        self._metrics = metrics
        self._reported: dict[Lane, bool] = dict.fromkeys(Lane, False)

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            started = time.monotonic()
            for lane in Lane:
                self.check(lane)
            pause = max(_CHECK_INTERVAL_SECONDS, 10 * (time.monotonic() - started))

    def check(self, lane: Lane) -> None:
        try:
            found, resolved, inbound = transact(
                self._engine,
                lambda connection: (
                    backlog.outbox(connection, lane),
                    backlog.resolved_age(connection, lane),
                    backlog.inbound_age(connection, self._inbound[lane]),
                ),
            )
        except (LedgerUnavailableError, ProgrammingError):
            self._metrics.show(lane.value, pending=math.nan, oldest=math.nan, resolved=math.nan, inbound=math.nan)
            return  # The database monitor reports that.
        self._metrics.show(
            lane.value, pending=found.pending, oldest=found.oldest_seconds, resolved=resolved, inbound=inbound
        )
        self._report(lane, found, resolved)

    def _report(self, lane: Lane, found: OutboxBacklog, resolved: float) -> None:
        limit = RESOLVED_AGE_LIMIT_SECONDS[lane]
        late = resolved > limit or found.oldest_seconds > limit
        if late and not self._reported[lane]:
            log.error(
                "what is recorded is not carried on: is a relay running?",
                extra={
                    "lane": lane.value,
                    "pending": found.pending,
                    "oldest_seconds": round(found.oldest_seconds),
                    "resolved_age_seconds": None if math.isnan(resolved) else round(resolved),
                },
            )
        elif self._reported[lane] and not late:
            log.info("what is recorded is carried on again", extra={"lane": lane.value})
        self._reported[lane] = late
