"""One lane's loop: claim rows, publish them, delete what the broker has acknowledged, state what is resolved.

Rows are deleted in the transaction that claimed them, after the acknowledgement: a crash anywhere in between
gives them back and publishes them again, which the merge ignores.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sqlalchemy import Connection

from consent_api.errors import PublishFailedError
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.availability import PartitionAvailability
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.outbox_table import UNREACHABLE, Claim, OutboxTable, Row
from consent_api.outbox_relay.poll_interval import PollInterval
from consent_api.outbox_relay.publisher import Delivery, Publisher
from consent_api.outbox_relay.resolved import ResolvedPublisher
from consent_api.outbox_relay.timing import (
    REFUSED_AGAIN_AFTER_SECONDS,
    RETRY_BACKOFF,
    UNREPLACEABLE_AGAIN_AFTER_SECONDS,
)
from consent_contracts.errors import RegistryUnavailableError
from consent_service import spans, trace_context
from consent_service.errors import RetryStoppedError
from consent_service.health import Health
from consent_service.retry import Failure, retry
from consent_service.stall_timer import StallTimer

log = logging.getLogger(__name__)

TRANSIENT: tuple[type[Exception], ...] = (PublishFailedError, RegistryUnavailableError, *UNREACHABLE)

_MOST_REFUSED = 1_000
_PROBE_BATCH = 50
_BUSY_SECONDS = 5.0
"""A lane that has published within these counts as busy."""
_LONGEST_REST_SECONDS = 1.0

DenialOf = Callable[[Connection, Row], Row | None]
_Outcome = Literal["dropped", "denied", "kept", "unanswered"]
"""Of a row that is refused for good: it concerned no address, its denial was acknowledged, refused, or not answered."""


@dataclass(kw_only=True, slots=True)
class _Refusal:
    """A row that the broker would not take: how often, and when it is tried again (monotonic seconds)."""

    times: int
    retry_at: float


class LaneRelay:
    """Publishes one lane's outbox until stopped, to the partitions of its scope. Any number of them may run at once, in
    as many processes."""

    def __init__(
        self,
        *,
        lane: Lane,
        name: str,
        outbox: OutboxTable,
        publisher: Publisher,
        denial_of: DenialOf,
        partitions: PartitionAvailability,
        scope: Callable[[], frozenset[int]],
        metrics: RelayMetrics,
        health: Health,
        progress: StallTimer,
        interval: PollInterval | None = None,
        batch: int = 2_000,
        yields_to: LaneRelay | None = None,
    ) -> None:
        """`name`: of this loop on the health page. `denial_of`: what replaces a row that is refused for good. `scope`:
        the partitions to publish to, asked before each batch. `yields_to`: while that one is busy, this one rests after
        each batch for as long as it took, because what it publishes costs processor time at each later stage, too."""
        self._lane = lane
        self._name = name
        self._outbox = outbox
        self._publisher = publisher
        self._denial_of = denial_of
        self._partitions = partitions
        self._scope = scope
        self._metrics = metrics
        self._health = health
        self._progress = progress
        self._interval = interval or PollInterval()
        self._batch = batch
        self._yields_to = yields_to
        self._published_at = -math.inf
        self._refusals: dict[int, _Refusal] = {}
        self._recovered = False
        self._failures = 0
        self._stop: Callable[[], bool] = lambda: False
        self.resolved: ResolvedPublisher | None = None
        """Set by the composition root: it publishes through this loop."""

    def run(self, stop: threading.Event) -> None:
        """Survives any absence of the broker, the registry and the database. Whatever else is raised is a bug."""
        self._stop = stop.is_set
        pause = 0.0
        with suppress(RetryStoppedError):
            while not stop.is_set():
                publish = partial(self._publish_next, pause)
                pause = retry(publish, on=TRANSIENT, backoff=RETRY_BACKOFF, stop=stop, report=self._report)
                if self._failures:
                    log.info("relay recovered", extra={"lane": self._lane.value, "failures": self._failures})
                self._failures = 0
                self._health.set_ready(self._name, self._partitions.readiness())
                # Where a partition has come back the next one may have, too.
                if pause and not self._recovered:
                    self._beat()
                    stop.wait(pause)

    def _publish_next(self, previous: float) -> float:
        """Publish one batch; the seconds to rest after it, `previous` being those before it."""
        self._beat()
        # After a failure a small batch asks whether all is well again, before thousands of rows are moved.
        limit = min(self._batch, _PROBE_BATCH) if self._failures else self._batch
        scope = self._scope()
        self._recovered = False
        began = time.monotonic()
        found = self.publish_batch(limit, scope) if scope else 0
        if self.resolved is not None and not self._stop():
            self.resolved.publish_due(scope)
        pause = self._interval.next(found=found, limit=limit, previous=previous)
        if found and self._yields_to is not None and self._yields_to.is_busy:
            return max(pause, min(time.monotonic() - began, _LONGEST_REST_SECONDS))
        return pause

    @property
    def is_busy(self) -> bool:
        """Whether it has published records lately. From any thread."""
        return time.monotonic() - self._published_at < _BUSY_SECONDS

    @property
    def rejected_count(self) -> int:
        """How many rows wait because the broker would not take them. From any thread."""
        return len(self._refusals)

    def publish(self, rows: Sequence[Row]) -> Delivery:
        """Send records, and note which partitions took them."""
        delivery = self._publisher.publish(rows, beat=self._beat, stop=self._stop)
        if not self._stop():
            failed = {row.partition for row in delivery.failed}
            self._partitions.failed(failed, delivery.cause)
            self._recovered |= self._partitions.answered({row.partition for row in delivery.acknowledged} - failed)
        return delivery

    def publish_batch(self, limit: int, scope: frozenset[int]) -> int:
        """The number of rows found. Raises PublishFailedError once what was acknowledged is deleted."""
        started, start = time.perf_counter(), spans.now()
        known = self.resolved.known_offsets() if self.resolved is not None else {}
        with self._outbox.claim(limit, set_aside=self._partitions.all - scope, excluded=self._excluded()) as claim:
            if not claim.rows:
                return 0
            delivery = self.publish(claim.rows)
            done = [row.id for row in delivery.acknowledged]
            done += self._replace(claim, delivery)
            if done:
                claim.delete(done)
        if self.resolved is not None:
            self.resolved.observe(delivery, before=known)
        self._count(delivery)
        if spans.is_on():
            _end_spans(delivery.acknowledged, start)
        if delivery.acknowledged or delivery.refused:
            self._progress.progressed()
            self._published_at = time.monotonic()
        if delivery.failed and not self._stop():
            raise PublishFailedError(delivery.cause)
        if delivery.acknowledged:
            self._metrics.batch_seconds.labels(self._lane.value).observe(time.perf_counter() - started)
        return len(claim.rows)

    def _replace(self, claim: Claim, delivery: Delivery) -> list[int]:
        """The ids of refused rows that need not stay: a denial was acknowledged in their place, or none is needed."""
        for row in delivery.acknowledged:
            self._refusals.pop(row.id, None)
        settled: list[int] = []
        answers = True
        for row in delivery.refused:
            refusal = self._refusals.setdefault(row.id, _Refusal(times=0, retry_at=0.0))
            refusal.times += 1
            refusal.retry_at = time.monotonic() + REFUSED_AGAIN_AFTER_SECONDS
            if not delivery.too_large and refusal.times == 1:
                continue  # A damaged packet is refused like a damaged record.
            if not answers:
                continue  # Each would take a time-out, and PostgreSQL ends a claim that is idle for long.
            outcome = self._settle(claim.connection, row, delivery.cause)
            if outcome == "unanswered":
                answers = False
            elif outcome == "kept":
                refusal.retry_at = time.monotonic() + UNREPLACEABLE_AGAIN_AFTER_SECONDS
            else:
                settled.append(row.id)
                del self._refusals[row.id]
        if len(self._refusals) > _MOST_REFUSED:
            raise PublishFailedError(delivery.cause)
        return settled

    def _settle(self, connection: Connection, row: Row, cause: str | None) -> _Outcome:
        denial = self._denial_of(connection, row)
        outcome: _Outcome
        if denial is None:
            outcome = "dropped"
        else:
            answer = self.publish([denial])
            if answer.failed:
                return "unanswered"
            outcome = "denied" if answer.acknowledged else "kept"
        self._metrics.denials.labels(self._lane.value, outcome).inc()
        log.error(
            "the broker refuses a record",
            extra={"lane": self._lane.value, "outbox_id": row.id, "cause": cause, "outcome": outcome},
        )
        return outcome

    def _excluded(self) -> list[int]:
        if not self._refusals:
            return []
        now = time.monotonic()
        return [row_id for row_id, refusal in self._refusals.items() if refusal.retry_at > now]

    def _count(self, delivery: Delivery) -> None:
        for outcome, rows in _by_outcome(delivery).items():
            for topic, number in Counter(row.topic for row in rows).items():
                self._metrics.published.labels(topic, outcome).inc(number)

    def _report(self, failure: Failure[Exception]) -> None:
        error, self._failures = failure.error, failure.count
        cause = _cause(error)
        self._metrics.retries.labels(self._lane.value, cause).inc()
        what = self._partitions.readiness() if cause == "broker" else f"the {cause} does not answer"
        self._health.set_ready(self._name, what)
        self._progress.progressed()
        if failure.count == 1:
            why = type(error).__name__ if isinstance(error, UNREACHABLE) else str(error)
            log.warning("relay paused", extra={"lane": self._lane.value, "cause": cause, "error": why})
        self._beat()

    def _beat(self) -> None:
        self._health.heartbeat(self._name)


def _end_spans(published: Sequence[Row], start: int) -> None:
    for row in published:
        attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": row.topic,
            "messaging.destination.partition.id": str(row.partition),
        }
        parent = trace_context.of_headers(row.headers)
        spans.end_child("publish", parent, start=start, kind="producer", attributes=attributes)


def _cause(error: Exception) -> str:
    if isinstance(error, PublishFailedError):
        return "broker"
    return "registry" if isinstance(error, RegistryUnavailableError) else "database"


def _by_outcome(delivery: Delivery) -> dict[str, list[Row]]:
    return {
        "published": delivery.acknowledged,
        "refused": delivery.refused,
        "failed": delivery.failed,
    }
