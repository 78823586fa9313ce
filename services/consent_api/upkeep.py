"""What the API process does beside answering: it asks the database how it is, and forgets old answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import Gauge
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from consent_runtime.observability import Health

from .clock import agrees, ahead
from .errors import LedgerUnavailableError
from .ledger import idempotency
from .ledger.ledger import Ledger
from .ledger.migrate import head_revision

log = logging.getLogger(__name__)

PART = "database"
_EVERY_SECONDS = 2.0
_FORGET_EVERY_SECONDS = 600.0


class Upkeep:
    """A loop of its own thread. While the database is away the process is not ready, and callers get 503; while its
    clock and ours differ the process is not ready."""

    def __init__(
        self, ledger: Ledger, health: Health, *, offset: Gauge, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._health = health
        self._offset = offset
        self._clock = clock
        self._needed = head_revision()
        self._forget_at = clock()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._health.beat(PART)
            self._health.ready(PART, self.look())
            stop.wait(_EVERY_SECONDS)

    def look(self) -> bool | str:
        """True, or why the database cannot be used or its clock not be relied upon."""
        try:
            version, offset = self._ledger.transact(lambda c: (_version(c), ahead(c, self._ledger.clock)))
            self._offset.set(offset)
            if version < self._needed:
                return "is older than this release: run consent-relay migrate"
            if self._clock() >= self._forget_at:
                self._forget_at = self._clock() + _FORGET_EVERY_SECONDS
                self._forget()
        except LedgerUnavailableError as error:
            return str(error)
        except ProgrammingError:
            return "has no ledger, or this role may not read it: run consent-relay migrate"
        return agrees(offset)

    def _forget(self) -> None:
        forgotten = self._ledger.transact(lambda c: idempotency.delete_expired(c, now=self._ledger.clock()))
        if forgotten:
            log.info("old idempotency keys forgotten", extra={"count": forgotten})


def _version(connection: Connection) -> str:
    return str(connection.execute(text("SELECT max(version_num) FROM alembic_version")).scalar_one())
