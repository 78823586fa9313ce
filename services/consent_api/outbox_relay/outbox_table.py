"""The outbox as the relay sees it: claim rows, delete what the broker has acknowledged, tell the backlog."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

EXACT_UP_TO = 10_000

# SKIP LOCKED lets several relays share the table.
_CLAIM = text(
    "SELECT outbox_id, topic, key, value, headers FROM outbox"
    " WHERE outbox_id > :floor AND outbox_id <> ALL(:aside)"
    " ORDER BY outbox_id LIMIT :limit FOR UPDATE SKIP LOCKED"
)

# A claim from the very beginning may take a tenth of the time, not more: see Outbox.
_SWEEP_SHARE = 10
_DELETE = text("DELETE FROM outbox WHERE outbox_id = ANY(:ids)")

# No count over 50 million rows each second: exact while it is cheap, the statistics' word beyond.
_BACKLOG = text(
    """
    WITH head AS (SELECT count(*) AS n FROM (SELECT 1 FROM outbox LIMIT :bound + 1) AS few)
    SELECT CASE WHEN n <= :bound THEN n
                ELSE greatest(n, (SELECT n_live_tup FROM pg_stat_user_tables
                                  WHERE relid = 'outbox'::regclass)) END,
           (SELECT extract(epoch FROM clock_timestamp()) - created_at / 1e6
            FROM outbox ORDER BY outbox_id LIMIT 1)
    FROM head
    """
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record to publish. `headers` are CloudEvents' names and values."""

    id: int
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """`oldest_seconds` is 0.0 when nothing is pending."""

    pending: int
    oldest_seconds: float


class Claim:
    """Rows locked by one open transaction. `delete` takes effect when the claim ends well."""

    def __init__(self, connection: Connection, rows: Sequence[Row]) -> None:
        self._connection = connection
        self.rows = rows

    def delete(self, ids: Sequence[int]) -> None:
        self._connection.execute(_DELETE, {"ids": list(ids)})


class Outbox:
    """Every method raises SQLAlchemy's DBAPIError when the database does not answer. One thread at a time.

    A row may become visible below rows that were published long ago (its transaction took its id early and
    committed late) or come back there (another relay died), so a claim starts at the lowest id: a cursor would
    lose it. But in a large backlog everything below the last claim is dead rows that PostgreSQL has to step
    over until they are vacuumed, which a long transaction elsewhere can put off for hours: batch after batch
    would be slower than the one before. So claims go on where the last one ended, and start at the beginning
    whenever the last such start is long enough ago to be a small share of the time. With a short table that is
    every time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._floor = 0
        self._sweep_at = 0.0

    @contextmanager
    def claim(self, limit: int, *, aside: Sequence[int] = ()) -> Iterator[Claim]:
        """Up to `limit` rows, oldest first, that nobody else works on; rows `aside` are left out.

        Leaving normally commits the deletions, an exception gives the rows back.
        """
        with self._engine.begin() as connection:
            rows = self._look(connection, limit, aside)
            if not rows and self._floor:
                self._sweep_at = 0.0
                rows = self._look(connection, limit, aside)
            yield Claim(connection, rows)

    def _look(self, connection: Connection, limit: int, aside: Sequence[int]) -> list[Row]:
        started = time.monotonic()
        sweep = started >= self._sweep_at
        if sweep:
            self._floor = 0
        found = connection.execute(_CLAIM, {"floor": self._floor, "limit": limit, "aside": list(aside)})
        if sweep:
            now = time.monotonic()
            self._sweep_at = now + _SWEEP_SHARE * (now - started)
        rows = [_row(*each) for each in found]
        if rows:
            self._floor = rows[-1].id
        return rows

    def backlog(self) -> Backlog:
        with self._engine.connect() as connection:
            pending, oldest = connection.execute(_BACKLOG, {"bound": EXACT_UP_TO}).one()
        return Backlog(pending=int(pending), oldest_seconds=max(float(oldest or 0), 0.0))


def _row(outbox_id: int, topic: str, key: bytes, value: bytes, headers: list[list[str]]) -> Row:
    return Row(id=outbox_id, topic=topic, key=key, value=value, headers=[(name, each) for name, each in headers])
