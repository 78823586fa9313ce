"""How far each lane has been carried: what waits in its outbox, and how old its timestamps are. It is read from the
database, so that every process with a connection sees a dead relay or ingest. Bulk sources are slowed by it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import Connection, text

from consent_api.ledger.lanes import Lane

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
            THEN (SELECT count(*) FROM (SELECT FROM outbox_bulk LIMIT :most) AS few) ELSE 0 END AS pending,
       coalesce((SELECT max(highest_outbox_id) FROM relay_turn_points WHERE lane = :live), 0) AS live_recorded
FROM published
""")

RESOLVED_AGE_LIMIT_SECONDS = 60.0
"""Bulk sources are slowed while the bulk lane's resolved timestamp is older."""
PENDING_LIMIT = 10_000
"""Bulk rows that may wait in the outbox while no resolved timestamp is known: no relay has run yet."""
RELAY_ALIVE_SECONDS = 10.0
"""A relay takes a turn each second."""


EXACT_UP_TO = 10_000

# No count over 50 million rows each second: exact while it is cheap, the estimate of the statistics above that.
_OUTBOX = {
    lane: text(f"""
    WITH head AS (SELECT count(*) AS n FROM (SELECT 1 FROM {lane.outbox} LIMIT :bound + 1) AS few)
    SELECT CASE WHEN n <= :bound THEN n
                ELSE greatest(n, (SELECT n_live_tup FROM pg_stat_user_tables
                                  WHERE relid = '{lane.outbox}'::regclass)) END,
           (SELECT extract(epoch FROM clock_timestamp()) - created_at / 1e6
            FROM {lane.outbox} ORDER BY outbox_id LIMIT 1)
    FROM head
    """)  # noqa: S608 - the names of our tables
    for lane in Lane
}
_RESOLVED_AGE = text(
    "SELECT extract(epoch FROM clock_timestamp()) - min(resolved_at) / 1e6"
    " FROM relay_partitions WHERE lane = :lane HAVING count(*) = count(resolved_at)"
)
_INBOUND_AGE = text(
    "SELECT CASE WHEN min(resolved_at) > 0 THEN extract(epoch FROM clock_timestamp()) - min(resolved_at) / 1e6"
    " ELSE 'Infinity'::float8 END FROM ingest_positions WHERE topic = :topic HAVING count(*) > 0"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxBacklog:
    """`oldest_seconds` is 0.0 when nothing is pending."""

    pending: int
    oldest_seconds: float


def outbox(connection: Connection, lane: Lane) -> OutboxBacklog:
    """What waits in the lane's outbox: exact up to `EXACT_UP_TO` rows, the statistics' estimate beyond."""
    pending, oldest = connection.execute(_OUTBOX[lane], {"bound": EXACT_UP_TO}).one()
    return OutboxBacklog(pending=int(pending), oldest_seconds=max(float(oldest or 0), 0.0))


def resolved_age(connection: Connection, lane: Lane) -> float:
    """Seconds since the lane's resolved timestamp, of its oldest partition, whichever relay published it; NaN until
    each has one."""
    return _seconds(connection.execute(_RESOLVED_AGE, {"lane": lane.value}).scalar())


def inbound_age(connection: Connection, topic: str) -> float:
    """Seconds since the append time up to which ingest has recorded the topic, of its oldest partition; infinite while
    one was never read, NaN where no ingest is configured."""
    return _seconds(connection.execute(_INBOUND_AGE, {"topic": topic}).scalar())


def _seconds(found: object) -> float:
    return math.nan if found is None else max(float(found), 0.0)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkBacklog:
    """``resolved_age_seconds`` is None until a relay has published one on every partition; ``pending`` is counted only
    then, up to ``PENDING_LIMIT`` + 1. ``relay_alive``: a relay has taken a turn lately. ``live_recorded``: the highest
    id of the live outbox at that turn, which grows while live decisions are recorded."""

    resolved_age_seconds: float | None
    pending: int
    relay_alive: bool
    live_recorded: int = 0

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
        _READ,
        {"partitions": partitions, "lane": Lane.BULK.value, "live": Lane.LIVE.value, "most": PENDING_LIMIT + 1},
    ).one()
    return BulkBacklog(
        resolved_age_seconds=None if row.resolved_at is None else max(row.now - row.resolved_at, 0) / 1_000_000,
        pending=row.pending,
        relay_alive=row.taken_at is not None and row.now - row.taken_at <= RELAY_ALIVE_SECONDS * 1_000_000,
        live_recorded=row.live_recorded,
    )
