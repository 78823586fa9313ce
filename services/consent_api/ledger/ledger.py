"""The ledger as the rest of the service uses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Engine

from consent_api.validate import Accepted

from .database import transact
from .record import Desk, Outcome, record

T = TypeVar("T")


def now_micros() -> int:
    """The wall clock in microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Thread-safe. Everything here raises LedgerUnavailable when the database is away."""

    engine: Engine
    desk: Desk
    clock: Callable[[], int] = now_micros

    def transact(self, work: Callable[[Connection], T]) -> T:
        """``work`` in one transaction, run again when contended, committed when this returns."""
        return transact(self.engine, work)

    def record(self, accepted: Sequence[Accepted]) -> list[Outcome]:
        """Record decisions in one transaction of their own: committed, with their messages, when this returns."""
        return self.transact(lambda connection: record(connection, self.desk, accepted))
