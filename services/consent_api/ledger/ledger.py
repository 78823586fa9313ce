"""The ledger as the rest of the service uses it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection, Engine

from consent_api.domain.validation import ValidDecision
from consent_api.errors import LedgerContendedError, TransactionTooLongError
from consent_api.ledger import database, lanes
from consent_api.ledger.database import transact
from consent_api.ledger.lanes import Lane
from consent_api.ledger.recording import LedgerContext, Outcome, record
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros

T = TypeVar("T")

PATIENCE_SECONDS = 8.0
MAX_TOO_LONG = 5


def patiently(attempt: Callable[[], T]) -> T:
    """What ``attempt`` returns, which runs one short transaction; run again while others hold what it needs.

    A live transaction may not wait as long as a bulk one may hold the lock on a person, so its caller waits, in as
    many transactions as it takes: LedgerContendedError after ``PATIENCE_SECONDS``. TransactionTooLongError when
    the work itself has not fitted into ``MAX_TOO_LONG`` of them.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    too_long = 0
    while True:
        try:
            return attempt()
        except TransactionTooLongError:
            too_long += 1
            if too_long == MAX_TOO_LONG or time.monotonic() >= deadline:
                raise
        except LedgerContendedError:
            if time.monotonic() >= deadline:
                raise


class Ledger:
    """Thread-safe. Everything here raises LedgerUnavailableError when the database does not answer.

    ``clock`` is this host's, which the monitors compare with the database's; no recorded time comes from it.
    ``keyring``: that of the moment, where it may change; else the context's.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        context: LedgerContext,
        clock: Callable[[], int] = now_micros,
        keyring: Callable[[], Keyring] | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self._context = context
        self._keyring = keyring or (lambda: context.keyring)

    @property
    def context(self) -> LedgerContext:
        """With the keyring of this moment. A transaction takes it once: under two it could look an address up by keys
        other than those that it writes."""
        context, keyring = self._context, self._keyring()
        if context.keyring is not keyring:
            self._context = context = replace(context, keyring=keyring)
        return context

    def transact(self, work: Callable[[Connection], T], *, limit_seconds: float = math.inf) -> T:
        """``work`` in one transaction, run again when contended, committed when this returns.

        ``limit_seconds``: the lane's, for work that sets its time limits.
        """
        return transact(self.engine, work, limit_seconds=limit_seconds)

    def now(self) -> int:
        """The database's clock, in micros."""
        return self.transact(database.clock)

    def write(self, lane: Lane, work: Callable[[Connection, int], T]) -> T:
        """As `transact`, for ``work`` that writes the lane's outbox, within its time limits. It is given the database's
        clock (micros).

        LedgerContendedError, TransactionTooLongError: see `patiently`.
        """

        def limited(connection: Connection) -> T:
            return work(connection, lanes.limit(connection, lane))

        return patiently(lambda: self.transact(limited, limit_seconds=lane.limit_seconds))

    def record(self, accepted: Sequence[ValidDecision], *, lane: Lane = Lane.LIVE) -> list[Outcome]:
        """Record decisions in one transaction of their own: committed, with their messages, when this returns."""
        return patiently(lambda: self.attempt(accepted, lane=lane))

    def attempt(self, accepted: Sequence[ValidDecision], *, lane: Lane, lock_ms: int | None = None) -> list[Outcome]:
        """As `record`, in one transaction that waits for no lock longer than the lane allows, or ``lock_ms`` if less.

        LedgerContendedError when it would have to, TransactionTooLongError when it does not fit into the lane's time.
        """

        def limited(connection: Connection) -> list[Outcome]:
            lanes.limit(connection, lane, lock_ms=lock_ms)
            return record(connection, self.context, accepted, lane=lane)

        return self.transact(limited, limit_seconds=lane.limit_seconds)
