"""The relay's loop: claim rows, publish them, delete what the broker has acknowledged, sleep a little.

Rows are deleted in the transaction that claimed them, after the acknowledgement: a crash anywhere in between
gives them back and publishes them again, which the merge ignores.
"""

import logging
import threading
import time
from collections import Counter

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from consent_runtime.observability import Health
from consent_runtime.progress import Progress

from .metrics import RelayMetrics
from .outbox_table import Outbox, Row
from .poll_interval import Pace
from .publisher import Delivery, Publisher

log = logging.getLogger(__name__)


class BrokerFailed(Exception):
    """Some of a batch was not acknowledged, and not because of its records. The text is librdkafka's name of why."""


# A pool that is exhausted, a connection that broke, a server that restarts, a transaction that it ended.
UNREACHABLE: tuple[type[Exception], ...] = (OperationalError, InterfaceError, InternalError, PoolTimeout)
NOT_NOW: tuple[type[Exception], ...] = (BrokerFailed, *UNREACHABLE)

_REFUSED_AGAIN_AFTER = 60.0
_MOST_REFUSED = 1_000
_PROBE = 50


class Relay:
    """Publishes the outbox until told to stop. Any number of relays may run at once, each in its own process."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        publisher: Publisher,
        metrics: RelayMetrics,
        health: Health,
        progress: Progress,
        pace: Pace | None = None,
        batch: int = 2_000,
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._metrics = metrics
        self._health = health
        self._progress = progress
        self._pace = pace or Pace()
        self._batch = batch
        self._refused: dict[int, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Survives any absence of the broker and of the database. Whatever else is raised is a bug and ends it."""
        failures = 0
        pause = 0.0
        while not stop.is_set():
            self._beat()
            # After a failure a small batch asks whether all is well again, before thousands of rows are moved.
            limit = min(self._batch, _PROBE) if failures else self._batch
            try:
                found = self._turn(limit, stop)
            except NOT_NOW as error:
                failures += 1
                self._report(error, failures)
                self._sleep(self._pace.retry(failures), stop)
                continue
            if failures:
                log.info("relay recovered", extra={"failures": failures})
            failures = 0
            self._health.ready("relay")
            pause = self._pace.after(found=found, limit=limit, previous=pause)
            if pause:
                self._sleep(pause, stop)

    @property
    def set_aside(self) -> int:
        """How many rows wait because the broker would not take them. From any thread."""
        return len(self._refused)

    def _turn(self, limit: int, stop: threading.Event) -> int:
        """One batch; the number of rows found."""
        started = time.perf_counter()
        with self._outbox.claim(limit, aside=self._aside()) as claim:
            if not claim.rows:
                return 0
            delivery = self._publisher.publish(claim.rows, beat=self._beat, stop=stop.is_set)
            if delivery.acknowledged:
                claim.delete([row.id for row in delivery.acknowledged])
        self._count(delivery)
        self._set_aside(delivery)
        if delivery.acknowledged or delivery.refused:
            self._progress.moved()
        if delivery.failed and not stop.is_set():
            raise BrokerFailed(delivery.cause)
        if delivery.acknowledged:
            self._metrics.batch_seconds.observe(time.perf_counter() - started)
        return len(claim.rows)

    def _aside(self) -> list[int]:
        if not self._refused:
            return []
        now = time.monotonic()
        self._refused = {row_id: until for row_id, until in self._refused.items() if until > now}
        return list(self._refused)

    def _set_aside(self, delivery: Delivery) -> None:
        """A record that the broker will not take must not hold up the others. Its row stays, and its age shows."""
        if not delivery.refused:
            return
        until = time.monotonic() + _REFUSED_AGAIN_AFTER
        self._refused |= {row.id: until for row in delivery.refused}
        log.error(
            "the broker refuses records",
            extra={"cause": delivery.cause, "outbox_ids": [row.id for row in delivery.refused[:20]]},
        )
        if len(self._refused) > _MOST_REFUSED:
            raise BrokerFailed(delivery.cause)

    def _count(self, delivery: Delivery) -> None:
        for outcome, rows in _by_outcome(delivery).items():
            for topic, number in Counter(row.topic for row in rows).items():
                self._metrics.published.labels(topic, outcome).inc(number)

    def _report(self, error: Exception, failures: int) -> None:
        cause = "broker" if isinstance(error, BrokerFailed) else "database"
        self._metrics.retries.labels(cause).inc()
        self._health.ready("relay", f"the {cause} does not answer")
        self._progress.moved()
        if failures == 1:
            why = str(error) if isinstance(error, BrokerFailed) else type(error).__name__
            log.warning("relay waits", extra={"cause": cause, "error": why})

    def _sleep(self, seconds: float, stop: threading.Event) -> None:
        self._beat()
        stop.wait(seconds)

    def _beat(self) -> None:
        self._health.beat("relay")


def _by_outcome(delivery: Delivery) -> dict[str, list[Row]]:
    return {
        "published": delivery.acknowledged,
        "refused": delivery.refused,
        "failed": delivery.failed,
    }
