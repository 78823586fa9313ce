"""What the processes of this service check of the database every other second: whether it answers, its schema version,
and whether its clock, which stamps decisions, agrees with the host's (docs/decisions/0013)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from prometheus_client import Gauge
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import database, deliverability, events, idempotency
from consent_api.ledger.database import transact
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.schema_version import REQUIRED_SCHEMA_VERSION
from consent_api.links import codes
from consent_service.clock import now_micros
from consent_service.health import Health

log = logging.getLogger(__name__)

DATABASE = "database"
CLOCK = "clock"
TOLERATED_OFFSET_SECONDS = 1.0
_CHECK_INTERVAL_SECONDS = 2.0
EXPIRY_BATCH = 2_000
_EXPIRY_SECONDS = 1.0
"""For deletions within one check, a third of this thread's time: some 20,000 a second, and a batch at least."""
_SCHEMA_VERSION = text("SELECT max(version_num) FROM alembic_version")


def clock_offset(connection: Connection, clock: Callable[[], int]) -> float:
    """Seconds by which `clock` is certainly later than the database's, negative when it is earlier: the database may
    have read its own clock at any moment between question and answer."""
    before = clock()
    theirs = database.clock(connection)
    after = clock()
    return (max(before - theirs, 0) + min(after - theirs, 0)) / 1_000_000


def offset_acceptable(offset: float) -> bool | str:
    """True, or what the health page has on so large an offset (seconds)."""
    if abs(offset) <= TOLERATED_OFFSET_SECONDS:
        return True
    side = "later" if offset > 0 else "earlier"
    return f"the clock here is {abs(offset):.1f} s {side} than the database's: synchronise both hosts (NTP)"


class ClockMonitor:
    """For a process without callers. It keeps working while the clocks differ: holding a withdrawal back would do
    the harm that a wrong time might do."""

    def __init__(self, *, engine: Engine, offset: Gauge, health: Health, clock: Callable[[], int] = now_micros) -> None:
        self._engine = engine
        self._clock = clock
        self._offset = offset
        self._health = health

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._health.heartbeat(CLOCK)
            self.check()
            stop.wait(_CHECK_INTERVAL_SECONDS)

    def check(self) -> None:
        try:
            offset = transact(self._engine, lambda connection: clock_offset(connection, self._clock))
        except LedgerUnavailableError:
            return  # The loops that need the database report that; what was known of the clock still holds.
        self._offset.set(offset)
        self._health.set_ready(CLOCK, offset_acceptable(offset))


class DatabaseMonitor:
    """For the API process. While the database does not answer the process is not ready, and callers get 503; while the
    clocks differ the process is not ready. Also deletes what has expired: answers of idempotent requests, refusals of
    events, codes, deliveries."""

    def __init__(
        self, ledger: Ledger, health: Health, *, offset: Gauge, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._health = health
        self._offset = offset
        self._clock = clock

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._health.heartbeat(DATABASE)
            self._health.set_ready(DATABASE, self.check())
            stop.wait(_CHECK_INTERVAL_SECONDS)

    def check(self) -> bool | str:
        """True, or why the database cannot be used or its clock not be relied upon."""
        try:
            version, offset = self._ledger.transact(
                lambda connection: (_schema_version(connection), clock_offset(connection, self._ledger.clock))
            )
            self._offset.set(offset)
            if version < REQUIRED_SCHEMA_VERSION:
                return "is older than this release: run consent-relay migrate"
        except LedgerUnavailableError as error:
            return str(error)
        except ProgrammingError:
            return "has no ledger, or this role may not read it: run consent-relay migrate"
        self._delete_expired()
        return offset_acceptable(offset)

    def _delete_expired(self) -> None:
        """A batch, and further ones while there are any and a second is not over; the next check goes on."""
        deadline = self._clock() + _EXPIRY_SECONDS
        try:
            for delete in _EXPIRING:
                deleted = EXPIRY_BATCH
                while deleted == EXPIRY_BATCH:
                    deleted = self._ledger.transact(partial(_delete_batch, delete))
                    if self._clock() >= deadline:
                        return
        except LedgerUnavailableError as error:
            # The database has just answered: it is slow, and what is left stays for the next check.
            log.warning("what has expired could not be deleted", extra={"error": str(error)})


_EXPIRING = (idempotency.delete_expired, events.delete_expired, codes.delete_expired, deliverability.delete_expired)


def _delete_batch(delete: Callable[..., int], connection: Connection) -> int:
    return delete(connection, now=database.clock(connection), most=EXPIRY_BATCH)


def _schema_version(connection: Connection) -> str:
    return str(connection.execute(_SCHEMA_VERSION).scalar_one())
