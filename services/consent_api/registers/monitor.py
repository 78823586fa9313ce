"""Looks at how old the registers are, for the API's metrics."""

from __future__ import annotations

import threading
from collections.abc import Collection
from functools import partial

from sqlalchemy.exc import ProgrammingError

from consent_api.errors import LedgerUnavailableError
from consent_api.ledger.ledger import Ledger
from consent_api.registers import table
from consent_api.registers.declared import Register
from consent_api.registers.metrics import RegisterMetrics

INTERVAL_SECONDS = 30.0


class RegisterMonitor:
    """For a thread of its own."""

    def __init__(self, ledger: Ledger, registers: Collection[Register], metrics: RegisterMetrics) -> None:
        self._ledger = ledger
        self._registers = registers
        self._metrics = metrics

    def run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            self.check()
            pause = INTERVAL_SECONDS

    def check(self) -> None:
        if not self._registers:
            return
        try:
            self._metrics.show(self._ledger.transact(partial(table.ages, registers=self._registers)))
        except (LedgerUnavailableError, ProgrammingError):
            return  # The database monitor reports that.
