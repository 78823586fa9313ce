"""Bulk requests are refused for a while when the bulk lane cannot keep up (429); live ones never are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import backlog
from consent_api.ledger.backlog import BulkBacklog
from consent_api.ledger.ledger import Ledger
from consent_http.errors import ProblemError

READ_INTERVAL_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30


class BackPressure:
    """Thread-safe: two that read at once do no harm. What the ledger reports of the bulk lane is kept for a second."""

    def __init__(self, ledger: Ledger, metrics: ApiMetrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._known: tuple[float, BulkBacklog] | None = None

    def require_capacity(self) -> None:
        """Raise a ProblemError with status 429 while bulk has to wait. LedgerUnavailableError as the ledger does."""
        excess = self._current().excess_seconds
        if excess == 0.0:
            return
        self._metrics.bulk_deferred.inc()
        raise ProblemError(
            429,
            "bulk-lane-congested",
            "Earlier bulk decisions are still being published. This request is not carried out now.",
            cure="Send it again after Retry-After seconds, with the same Idempotency-Key. Live decisions are accepted.",
            headers={"Retry-After": str(min(max(math.ceil(excess), 1), LONGEST_RETRY_SECONDS))},
        )

    def _current(self) -> BulkBacklog:
        known = self._known
        if known is not None and self._clock() - known[0] < READ_INTERVAL_SECONDS:
            return known[1]
        partitions = self._ledger.context.outbox.partitions
        found = self._ledger.transact(lambda c: backlog.read(c, partitions=partitions))
        self._known = (self._clock(), found)
        age = found.resolved_age_seconds
        self._metrics.bulk_resolved_age.set(math.nan if age is None else age)
        return found
