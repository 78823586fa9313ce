"""A run goes slower when the bulk lane cannot keep up, by the rule that also refuses bulk requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from consent_api.ledger.backlog import BulkBacklog

CHECK_INTERVAL_SECONDS = 1.0


class BulkPacing:
    """Waits between pages while the bulk lane's resolved timestamp is too old.

    Only while a relay is alive: without one nothing else is published that a run could delay, and topics that were
    created again are filled before the relays start.
    """

    def __init__(
        self,
        read: Callable[[], BulkBacklog],
        waiting: Callable[[float], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``waiting`` is called with the age of the resolved timestamp in seconds, each time before a wait."""
        self._read = read
        self._waiting = waiting
        self._sleep = sleep

    def wait(self) -> None:
        """Return when the next page may be published. LedgerUnavailableError as the ledger does."""
        while (age := self._too_old()) is not None:
            self._waiting(age)
            self._sleep(CHECK_INTERVAL_SECONDS)

    def _too_old(self) -> float | None:
        backlog = self._read()
        if backlog.relay_alive and backlog.excess_seconds > 0:
            return backlog.resolved_age_seconds
        return None
