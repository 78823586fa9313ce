"""How far the bulk lane has been published: what bulk sources are slowed by."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from .lanes import Lane

# The clock is the database's, as the resolved timestamps' is. The outbox is only counted where nothing else is known.
_READ = text("""
WITH published AS (
    SELECT CASE WHEN count(resolved_at) = :partitions THEN min(resolved_at) END AS resolved_at
    FROM relay_partitions WHERE lane = :lane
)
SELECT resolved_at,
       (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS now,
       (SELECT max(taken_at) FROM relay_turns WHERE lane = :lane) AS taken_at,
       CASE WHEN resolved_at IS NULL
            THEN (SELECT count(*) FROM (SELECT FROM outbox_bulk LIMIT :most) AS few) ELSE 0 END AS pending
FROM published
""")

RESOLVED_AGE_LIMIT_SECONDS = 60.0
"""Bulk sources are slowed while the bulk lane's resolved timestamp is older."""
PENDING_LIMIT = 10_000
"""Bulk rows that may wait in the outbox while no resolved timestamp is known: no relay has run yet."""
RELAY_ALIVE_SECONDS = 10.0
"""A relay takes a turn each second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkBacklog:
    """``resolved_age_seconds`` is None until a relay has published one on every partition; ``pending`` is counted only
    then, up to ``PENDING_LIMIT`` + 1. ``relay_alive``: a relay has taken a turn lately."""

    resolved_age_seconds: float | None
    pending: int
    relay_alive: bool

    @property
    def excess_seconds(self) -> float:
        """By how much the limit is exceeded; 0.0 while bulk may go on.

        While nothing is known, a little is accepted: an installation may be filled before its first relay runs, but
        an import must not fill the database of one that has none.
        """
        if self.resolved_age_seconds is None:
            return RESOLVED_AGE_LIMIT_SECONDS if self.pending > PENDING_LIMIT else 0.0
        return max(self.resolved_age_seconds - RESOLVED_AGE_LIMIT_SECONDS, 0.0)


def read(connection: Connection, *, partitions: int) -> BulkBacklog:
    """The backlog of the bulk lane, whose topic has so many partitions."""
    row = connection.execute(
        _READ, {"partitions": partitions, "lane": Lane.BULK.value, "most": PENDING_LIMIT + 1}
    ).one()
    return BulkBacklog(
        resolved_age_seconds=None if row.resolved_at is None else max(row.now - row.resolved_at, 0) / 1_000_000,
        pending=row.pending,
        relay_alive=row.taken_at is not None and row.now - row.taken_at <= RELAY_ALIVE_SECONDS * 1_000_000,
    )
