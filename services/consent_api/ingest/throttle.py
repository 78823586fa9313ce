"""Back-pressure: the bulk loop goes slower while the bulk lane's resolved timestamp is too old, and rests while live
decisions are recorded anywhere."""

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

LONGEST_REST_SECONDS = 1.0


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
        self._live_recorded: int | None = None
        self._live_busy = False
        self._began_at: float | None = None

    def wait(self) -> None:
        """Return when the next batch may be recorded. Raises LedgerUnavailableError as the ledger does.

        While live decisions are recorded, by whichever process, bulk rests for as long as its last batch took: the
        database and every stage behind it serve both.
        """
        batch_seconds = 0.0 if self._began_at is None else self._clock() - self._began_at
        if self._clock() >= self._check_at:
            found = self._read()
            self._check_at = self._clock() + CHECK_INTERVAL_SECONDS
            self._live_busy = self._live_recorded is not None and found.live_recorded > self._live_recorded
            self._live_recorded = found.live_recorded
            self._note(slow=found.excess_seconds > 0)
        if self._slow:
            self._sleep(SLOWED_BATCH_SECONDS)
        elif self._live_busy:
            self._sleep(min(batch_seconds, LONGEST_REST_SECONDS))
        self._began_at = self._clock()

    def _note(self, *, slow: bool) -> None:
        if slow != self._slow:
            self._slow = slow
            self._throttled.set(slow)
            log.warning("bulk ingest is slowed" if slow else "bulk ingest goes on at full speed")
