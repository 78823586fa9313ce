"""Looks at the open requests for the API's metrics, and reports in the log when some are overdue."""

from __future__ import annotations

import logging
import threading

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import database
from consent_api.ledger.ledger import Ledger
from consent_api.rights import requests
from consent_api.rights.metrics import RightsMetrics
from consent_api.rights.requests import Kind, OpenRequests

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0


class RequestMonitor:
    """For a thread of its own."""

    def __init__(self, ledger: Ledger, metrics: RightsMetrics) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._overdue = 0

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            self.check()
            pause = INTERVAL_SECONDS

    def check(self) -> None:
        try:
            found = self._ledger.transact(_open)
        except (LedgerUnavailableError, ProgrammingError):
            self._metrics.unknown()
            return  # The database monitor reports that.
        self._metrics.show(found)
        overdue = sum(each.overdue for each in found.values())
        if overdue > self._overdue:
            log.error("requests of persons are overdue", extra={"overdue": overdue})
        self._overdue = overdue


def _open(connection: Connection) -> dict[Kind, OpenRequests]:
    return requests.open_by_kind(connection, now=database.clock(connection))
