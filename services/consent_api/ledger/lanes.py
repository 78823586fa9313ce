"""The two lanes to Kafka, live and bulk: their outbox tables, and how long a transaction that writes one may last.

The lane is the transaction's, the mark the decision's: a live refusal that an imported address inherits goes out by
the bulk lane and stays live.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, text

from consent_api.ledger.database import CLOCK_MICROS
from consent_contracts.topics import Topics

# A relay's turn waits for the transactions that write the lane's outbox, so their length bounds how old a resolved
# timestamp gets. PostgreSQL ends a session that exceeds transaction_timeout; statement_timeout is shorter so that a
# single statement is cancelled first, which costs no connection.
TIME_LIMITS = (
    "set_config('transaction_timeout', :transaction_ms, true),"
    " set_config('statement_timeout', :statement_ms, true),"
    " set_config('lock_timeout', :lock_ms, true)"
)
"""Part of a SELECT's list; its parameters come from `Lane.time_limits`."""
_SET_TIME_LIMITS = text(f"SELECT {CLOCK_MICROS} AS now, {TIME_LIMITS}")

MARK = "(d.bulk AND NOT EXISTS (SELECT FROM live_repeats l WHERE l.decision_id = d.decision_id)) AS bulk"
"""The mark of a decision, as a column of a SELECT whose ``d`` is ``decisions``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Limits:
    transaction_ms: int
    statement_ms: int
    lock_ms: int


class Lane(StrEnum):
    LIVE = "live"
    BULK = "bulk"

    @property
    def outbox(self) -> str:
        """The name of the lane's outbox table."""
        return "outbox" if self is Lane.LIVE else "outbox_bulk"

    def changes(self, topics: Topics) -> str:
        """The topic into which the lane's outbox is published."""
        return topics.changes if self is Lane.LIVE else topics.changes_bulk

    @property
    def limit_seconds(self) -> float:
        """How long a transaction that writes the lane's outbox may last."""
        return _LIMITS[self].transaction_ms / 1000

    @property
    def lock_ms(self) -> int:
        """How long a transaction may wait for one lock."""
        return _LIMITS[self].lock_ms

    def time_limits(self, *, lock_ms: int | None = None) -> dict[str, str]:
        """The parameters of TIME_LIMITS. ``lock_ms``: wait less for a lock than the lane allows."""
        limits = _LIMITS[self]
        return {
            "transaction_ms": str(limits.transaction_ms),
            "statement_ms": str(limits.statement_ms),
            "lock_ms": str(limits.lock_ms if lock_ms is None else min(lock_ms, limits.lock_ms)),
        }


_LIMITS = {
    Lane.LIVE: _Limits(transaction_ms=1_000, statement_ms=900, lock_ms=400),
    Lane.BULK: _Limits(transaction_ms=60_000, statement_ms=55_000, lock_ms=8_000),
}


def limit(connection: Connection, lane: Lane, *, lock_ms: int | None = None) -> int:
    """Bound the transaction that has just begun and is about to write the lane's outbox; the database's clock (micros).

    ``lock_ms``: as for `Lane.time_limits`.
    """
    return int(connection.execute(_SET_TIME_LIMITS, lane.time_limits(lock_ms=lock_ms)).one().now)
