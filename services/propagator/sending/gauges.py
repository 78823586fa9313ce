"""One destination's gauges, exported while this process is the active sender, and removed afterwards."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial

from prometheus_client import Gauge

from propagator.config.model import Destination
from propagator.metrics import Metrics
from propagator.sending.account_check import AccountCheck
from propagator.sending.call_results import CallResults
from propagator.sending.circuit_breaker import CircuitBreaker
from propagator.sending.ports import DestinationState, Kind
from propagator.sending.target_quarantine import TargetQuarantine
from propagator.sending.work_queue import WorkQueue

log = logging.getLogger(__name__)

SECOND = 1_000_000
LOGGED_BULK = 1_000
"""So many pending bulk rows are a fill or an import, whose end is logged."""
_CLASSES = {True: "live", False: "bulk"}
_WORK_KINDS: tuple[Kind, ...] = ("suppress", "permit", "record", "forget")


class Gauges:
    """`export` once a second. `now_micros` gives the wall clock."""

    def __init__(
        self,
        destination: Destination,
        state: DestinationState,
        metrics: Metrics,
        *,
        queue: WorkQueue,
        breaker: CircuitBreaker,
        quarantine: TargetQuarantine,
        account_check: AccountCheck,
        results: CallResults,
        now_micros: Callable[[], int],
    ) -> None:
        self._destination = destination
        self._state = state
        self._metrics = metrics
        self._queue = queue
        self._breaker = breaker
        self._quarantine = quarantine
        self._account_check = account_check
        self._results = results
        self._now_micros = now_micros
        self._oldest: dict[bool, int | None] = {}
        self._most_bulk = 0
        """Bulk rows that were pending at most, since none was."""
        for live, name in _CLASSES.items():
            # Read by the metrics server, so that an age grows on even when the loop hangs.
            metrics.oldest_pending.labels(destination.name, name).set_function(partial(self._age, live))

    def export(self) -> None:
        """Bring every gauge up to date."""
        name, metrics = self._destination.name, self._metrics
        counts = self._state.counts()
        for live, class_name in _CLASSES.items():
            self._oldest[live] = self._state.oldest_pending(live=live)
            for kind in _WORK_KINDS:
                metrics.backlog.labels(name, class_name, kind).set(counts.get((live, kind), 0))
        self._log_bulk(sum(counts.get((False, kind), 0) for kind in _WORK_KINDS))
        metrics.impossible.labels(name).set(counts.get((False, "impossible"), 0))
        until = self._state.delivered_until()
        if until is None:
            self._remove(metrics.delivered_until, name)
        else:
            metrics.delivered_until.labels(name).set(until / SECOND)
        metrics.breaker_open.labels(name).set(self._breaker.is_open)
        refused = self._results.misconfigured or len(self._quarantine) > 0
        metrics.verified.labels(name).set(self._account_check.verified and not refused)
        metrics.paused.labels(name).set(self._destination.paused)
        metrics.quarantined.labels(name).set(len(self._quarantine))
        check = self._account_check
        if check.verified and check.found.doubt is None:
            metrics.ineffective.labels(name).set(len(check.found.ineffective))
        else:
            self._remove(metrics.ineffective, name)
        metrics.waiting_permissions.labels(name).set(self._queue.waiting_permissions)
        metrics.in_flight.labels(name).set(self._queue.in_flight)

    def _log_bulk(self, pending: int) -> None:
        """A fill, an import and what an outage has left end in this line."""
        if pending:
            self._most_bulk = max(self._most_bulk, pending)
        elif self._most_bulk >= LOGGED_BULK:
            done, self._most_bulk = self._most_bulk, 0
            log.info("bulk delivered: nothing is pending", extra={"destination": self._destination.name, "most": done})

    def remove(self) -> None:
        """This process no longer sends: what it last knew is not shown as the present."""
        name, metrics = self._destination.name, self._metrics
        for class_name in _CLASSES.values():
            self._remove(metrics.oldest_pending, name, class_name)
            for kind in _WORK_KINDS:
                self._remove(metrics.backlog, name, class_name, kind)
        for gauge in (
            metrics.impossible,
            metrics.delivered_until,
            metrics.breaker_open,
            metrics.verified,
            metrics.paused,
            metrics.quarantined,
            metrics.ineffective,
            metrics.waiting_permissions,
            metrics.in_flight,
        ):
            self._remove(gauge, name)

    def _age(self, live: bool) -> float:
        oldest = self._oldest.get(live)
        return 0.0 if oldest is None else max(0.0, (self._now_micros() - oldest) / SECOND)

    @staticmethod
    def _remove(gauge: Gauge, *labels: str) -> None:
        with contextlib.suppress(KeyError):
            gauge.remove(*labels)
