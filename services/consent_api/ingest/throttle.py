"""Back-pressure: the bulk loop goes slower while the bulk lane's resolved timestamp is too old."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from prometheus_client import Gauge

from consent_api.ledger.backlog import BulkBacklog

log = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 1.0
SLOWED_BATCH_SECONDS = 1.0
"""While slowed, one batch a second is recorded: never nothing, so that what is slow shows and ends by itself."""


class BulkThrottle:
    """For the bulk loop's thread."""

    def __init__(
        self,
        read: Callable[[], BulkBacklog],
        *,
        throttled: Gauge,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` asks the ledger; `throttled` is 1 while bulk is slowed."""
        self._read = read
        self._throttled = throttled
        self._sleep = sleep
        self._clock = clock
        self._check_at = 0.0
        self._slow = False

    def wait(self) -> None:
        """Return when the next batch may be recorded. Raises LedgerUnavailableError as the ledger does."""
        if self._clock() >= self._check_at:
            slow = self._read().excess_seconds > 0
            self._check_at = self._clock() + CHECK_INTERVAL_SECONDS
            if slow != self._slow:
                self._slow = slow
                self._throttled.set(slow)
                log.warning("bulk ingest is slowed" if slow else "bulk ingest goes on at full speed")
        if self._slow:
            self._sleep(SLOWED_BATCH_SECONDS)
