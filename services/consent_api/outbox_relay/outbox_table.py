"""One lane's outbox as the relay uses it: claim rows, delete what the broker has acknowledged, measure the backlog."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from consent_api.ledger import backlog
from consent_api.ledger.backlog import OutboxBacklog
from consent_api.ledger.lanes import Lane

# A pool that is exhausted, a connection that broke, a server that restarts, a transaction that it ended.
UNREACHABLE: tuple[type[Exception], ...] = (OperationalError, InterfaceError, InternalError, PoolTimeout)

# A claim from the lowest id may take a tenth of the time, not more: see OutboxTable.
_SWEEP_SHARE = 10

# SKIP LOCKED lets several relays share the table. No condition here invites the planner to leave the primary key: with
# the statistics of a table that was short it would sort a whole backlog for each batch.
_CLAIM = (
    "SELECT outbox_id, topic, partition, key, value, headers FROM {outbox}"
    " WHERE outbox_id > :floor AND partition <> ALL(:set_aside) AND outbox_id <> ALL(:excluded)"
    " ORDER BY outbox_id LIMIT :limit FOR UPDATE SKIP LOCKED"
)
_DELETE = "DELETE FROM {outbox} WHERE outbox_id = ANY(:ids)"

_LOWEST = """
    SELECT p, (SELECT min(outbox_id) FROM {outbox} WHERE partition = p)
    FROM unnest(CAST(:partitions AS int[])) AS p
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record to publish, in its partition. `headers` are CloudEvents' names and values."""

    id: int
    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


class Claim:
    """Rows locked by one open transaction. `delete` takes effect when the claim ends well."""

    def __init__(self, connection: Connection, rows: Sequence[Row], delete: str) -> None:
        self.connection = connection
        self.rows = rows
        self._delete = text(delete)

    def delete(self, ids: Sequence[int]) -> None:
        self.connection.execute(self._delete, {"ids": list(ids)})


class OutboxTable:
    """Every method raises SQLAlchemy's DBAPIError when the database does not answer. One thread at a time.

    A row may become visible below rows that were published long ago (its transaction took its id early and
    committed late) or come back there (another relay died), so a claim starts at the lowest id: a cursor would
    lose it. But in a large backlog everything below the last claim is dead rows that PostgreSQL has to step
    over until they are vacuumed, which a long transaction elsewhere can put off for hours: batch after batch
    would be slower than the one before. So claims go on where the last one ended, and start at the beginning
    whenever the last such start is long enough ago to be a small share of the time. With a short table that is
    every time.
    """

    def __init__(self, engine: Engine, lane: Lane) -> None:
        self._engine = engine
        self._claim = text(_CLAIM.format(outbox=lane.outbox))
        self._delete = _DELETE.format(outbox=lane.outbox)
        self._lane = lane
        self._lowest = text(_LOWEST.format(outbox=lane.outbox))
        self._floor = 0
        self._sweep_at = 0.0

    @contextmanager
    def claim(self, limit: int, *, set_aside: Collection[int] = (), excluded: Sequence[int] = ()) -> Iterator[Claim]:
        """Up to `limit` rows, lowest id first, that no other relay has claimed; the partitions `set_aside` and the rows
        `excluded` are left out.

        Leaving normally commits the deletions, an exception gives the rows back.
        """
        with self._engine.begin() as connection:
            where = {"limit": limit, "set_aside": list(set_aside), "excluded": list(excluded)}
            rows = self._find(connection, where)
            if not rows and self._floor:
                self._sweep_at = 0.0
                rows = self._find(connection, where)
            yield Claim(connection, rows, self._delete)

    def backlog(self) -> OutboxBacklog:
        with self._engine.connect() as connection:
            return backlog.outbox(connection, self._lane)

    def lowest_ids(self, partitions: Collection[int]) -> dict[int, int]:
        """By partition, the lowest id of a row that is not published and deleted; partitions without rows are absent.

        Claimed rows count, the caller's too: their deletion is not committed yet."""
        with self._engine.connect() as connection:
            found = connection.execute(self._lowest, {"partitions": list(partitions)}).all()
        return {int(partition): int(lowest) for partition, lowest in found if lowest is not None}

    def _find(self, connection: Connection, where: Mapping[str, object]) -> list[Row]:
        started = time.monotonic()
        sweep = started >= self._sweep_at
        if sweep:
            self._floor = 0
        rows = [_row(*each) for each in connection.execute(self._claim, {**where, "floor": self._floor})]
        if sweep:
            now = time.monotonic()
            self._sweep_at = now + _SWEEP_SHARE * (now - started)
        if rows:
            self._floor = rows[-1].id
        return rows


def _row(outbox_id: int, topic: str, partition: int, key: bytes, value: bytes, headers: list[list[str]]) -> Row:
    return Row(
        id=outbox_id,
        topic=topic,
        partition=partition,
        key=key,
        value=value,
        headers=[(name, each) for name, each in headers],
    )
