"""The shared state of a lane's relays in the ledger: whose turn it is, what turns have found, what was published.

A turn is taken by compare-and-set on one row. No statement here leaves a transaction open, so a frozen process keeps
no lock; what it writes late is old by its content, or is refused because the turn is another relay's by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, Engine, text

from consent_api.errors import PartitionsChangedError
from consent_api.ledger.database import CLOCK_MICROS as _NOW
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.points import PartitionProgress, Point
from consent_api.outbox_relay.timing import FULL_PRECISION_SECONDS, THINNED_TO, TURN_INTERVAL_SECONDS
from consent_service.clock import MAX_CLOCK_LEAD_MICROS

_MICROS = 1_000_000

_CREATE = text(
    "INSERT INTO relay_turns (lane, turn, taken_at, taken_by) VALUES (:lane, 0, 0, '') ON CONFLICT DO NOTHING"
)
_SEEN = text("SELECT turn FROM relay_turns WHERE lane = :lane")
# A database whose clock was set back must not end all turns: a time in the future counts as long ago.
_TAKE = text(
    f"UPDATE relay_turns SET turn = turn + 1, taken_at = {_NOW}, taken_by = :relay"  # noqa: S608 - constants
    f" WHERE lane = :lane AND turn = :seen AND abs({_NOW} - taken_at) >= :interval RETURNING turn"
)
# The clock of the snapshot's statement: one read beside or after a snapshot is younger than it, and a transaction that
# committed in between would be missed. Ingest's position is read with it for the same reason; a position that is ahead,
# as the clock was set back since, is not believed.
_STATEMENT_CLOCK = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
_CLOCK = text(
    f"SELECT {_STATEMENT_CLOCK},"  # noqa: S608 - constants
    f" (SELECT min(CASE WHEN resolved_at <= {_STATEMENT_CLOCK} + {MAX_CLOCK_LEAD_MICROS}"
    " THEN resolved_at ELSE 0 END) FROM ingest_positions WHERE topic = :inbound)"
)
# Who writes a row holds this lock until after its commit is visible. A snapshot's xmin would do instead, but writers of
# other databases and the relays' own claims hold it back.
_WRITERS = (
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted"
    " AND relation = '{outbox}'::regclass"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_HIGHEST = "SELECT coalesce(max(outbox_id), 0) FROM {outbox}"
_KEEP = text(
    "INSERT INTO relay_turn_points (lane, turn, resolved_at, highest_outbox_id, inbound_resolved_at)"
    " VALUES (:lane, :turn, :resolved_at, :highest, :inbound)"
)
_POINTS = text(
    "SELECT turn, resolved_at, highest_outbox_id, inbound_resolved_at FROM relay_turn_points WHERE lane = :lane"
)
_PRUNE = text(
    "DELETE FROM relay_turn_points WHERE lane = :lane AND (resolved_at <= :needed_after"  # noqa: S608 - constants
    f" OR (turn % {THINNED_TO} <> 0"
    f" AND resolved_at < {_NOW} - {int(FULL_PRECISION_SECONDS * _MICROS)}))"
)
_DISCARD_POINTS = text("DELETE FROM relay_turn_points WHERE lane = :lane AND resolved_at > :clock")
_DISCARD_PUBLISHED = text("UPDATE relay_partitions SET resolved_at = NULL WHERE lane = :lane AND resolved_at > :clock")
_PARTITIONS = text(
    "SELECT partition, topic_id, last_offset, loss, resolved_at FROM relay_partitions WHERE lane = :lane"
)
_ADD_PARTITION = text(
    "INSERT INTO relay_partitions (lane, partition, topic_id) VALUES (:lane, :partition, :topic_id)"
    " ON CONFLICT DO NOTHING"
)
_PUBLISHED = text(
    "UPDATE relay_partitions SET last_offset = coalesce(CAST(:offset AS bigint), last_offset),"
    " resolved_at = greatest(resolved_at, :resolved_at)"
    " WHERE lane = :lane AND partition = :partition AND loss = :loss"
    " AND EXISTS (SELECT FROM relay_turns WHERE lane = :lane AND taken_by = :relay)"
)
# Compare-and-set on the number itself: two relays that see one loss count it once.
_LOST = text(
    "UPDATE relay_partitions SET loss = loss + 1, last_offset = :offset, topic_id = :topic_id"
    " WHERE lane = :lane AND partition = :partition AND loss = :loss"
)
_DURABLE = text("SET LOCAL synchronous_commit = on")


class TurnTable:
    """Methods with a `connection` use that one alone, in autocommit mode: a turn whose connection breaks is lost.

    Each raises SQLAlchemy's DBAPIError when the database does not answer.
    """

    def __init__(
        self,
        *,
        lane: Lane,
        relay: str,
        inbound_topic: str,
        on_loss: Callable[[int], None] = lambda partition: None,
    ) -> None:
        """`relay`: an id of this process that no other process has had. `inbound_topic`: what ingest reads.
        `on_loss` is called with each partition of a topic that was created again."""
        self._on_loss = on_loss
        self._lane = {"lane": lane.value}
        self._relay = relay
        self._inbound = inbound_topic
        self._writers = text(_WRITERS.format(outbox=lane.outbox))
        self._highest = text(_HIGHEST.format(outbox=lane.outbox))

    def take(self, connection: Connection) -> int | None:
        """The number of the turn, or None when it is not time for one or another relay was faster."""
        seen = connection.execute(_SEEN, self._lane).scalar_one_or_none()
        if seen is None:
            connection.execute(_CREATE, self._lane)
            seen = 0
        interval = int(TURN_INTERVAL_SECONDS * _MICROS)
        where = {**self._lane, "seen": seen, "interval": interval, "relay": self._relay}
        return connection.execute(_TAKE, where).scalar_one_or_none()

    def clock(self, connection: Connection) -> tuple[int, int | None]:
        """The database's time before the snapshot of the statement, and ingest's position at that time."""
        now, inbound = connection.execute(_CLOCK, {"inbound": self._inbound}).one()
        return int(now), None if inbound is None else int(inbound)

    def writers(self, connection: Connection) -> frozenset[str]:
        """The transactions that have written the lane's outbox and have not ended, by their virtual id."""
        return frozenset(connection.execute(self._writers).scalars())

    def highest_id(self, connection: Connection) -> int:
        """Of a row that is visible now; 0 when there is none. A plain SELECT: rows that others have locked count."""
        return int(connection.execute(self._highest).scalar_one())

    def keep(self, connection: Connection, point: Point) -> None:
        connection.execute(
            _KEEP,
            {
                **self._lane,
                "turn": point.turn,
                "resolved_at": point.resolved_at,
                "highest": point.highest_outbox_id,
                "inbound": point.inbound_resolved_at,
            },
        )

    def points(self, connection: Connection) -> list[Point]:
        """Every point of the lane that may still be published, of all relays."""
        return [
            Point(turn=turn, resolved_at=resolved_at, highest_outbox_id=highest, inbound_resolved_at=inbound)
            for turn, resolved_at, highest, inbound in connection.execute(_POINTS, self._lane)
        ]

    def prune(self, connection: Connection, *, published: Mapping[int, PartitionProgress]) -> None:
        """Drop the points that every partition has passed, and thin out the older ones."""
        resolved = [each.resolved_at or 0 for each in published.values()]
        connection.execute(_PRUNE, {**self._lane, "needed_after": min(resolved, default=0)})

    def discard_later(self, connection: Connection, clock: int) -> None:
        """Drop every time later than `clock`, that of points and that of what was published."""
        connection.execute(_DISCARD_POINTS, {**self._lane, "clock": clock})
        connection.execute(_DISCARD_PUBLISHED, {**self._lane, "clock": clock})

    def partitions(self, connection: Connection, *, topic_id: str | None, count: int) -> dict[int, PartitionProgress]:
        """What is kept of each of the `count` partitions. `topic_id`: the broker's id of the topic now, None when it
        is not known; a topic with another id than the kept one counts as a loss. Raises PartitionsChangedError."""
        found = self._partitions(connection)
        if found and len(found) != count:
            raise PartitionsChangedError(lane=self._lane["lane"], recorded=len(found), configured=count)
        if topic_id is None:
            return found
        values = {**self._lane, "topic_id": topic_id}
        if not found:
            connection.execute(_ADD_PARTITION, [{**values, "partition": each} for each in range(count)])
        changed = {partition: known for partition, known in found.items() if known.topic_id != topic_id}
        for partition, known in changed.items():
            if self.lost(connection, partition, known, topic_id=topic_id, offset=None):
                self._on_loss(partition)
        return self._partitions(connection) if changed or not found else found

    def published(self, engine: Engine, records: Mapping[int, PartitionProgress]) -> None:
        """By partition, the progress after a ConsentResolved was acknowledged.

        Changes nothing once another relay has taken a turn, or where the loss number has been raised meanwhile.
        """
        values = [
            {
                **self._lane,
                "relay": self._relay,
                "partition": partition,
                "offset": progress.last_offset,
                "resolved_at": progress.resolved_at,
                "loss": progress.loss,
            }
            for partition, progress in records.items()
        ]
        with engine.begin() as connection:
            connection.execute(_PUBLISHED, values)

    def lost(
        self,
        connection: Connection,
        partition: int,
        known: PartitionProgress,
        *,
        topic_id: str,
        offset: int | None,
    ) -> bool:
        """Raise the partition's loss number by one above the `known` one; False when that has happened already."""
        values = {**self._lane, "partition": partition, "topic_id": topic_id, "offset": offset, "loss": known.loss}
        return connection.execute(_LOST, values).rowcount > 0

    def record_loss(
        self, engine: Engine, partition: int, known: PartitionProgress, *, topic_id: str, offset: int
    ) -> bool:
        """As `lost`, in a transaction of its own that survives a crash of the database."""
        with engine.begin() as connection:
            connection.execute(_DURABLE)
            return self.lost(connection, partition, known, topic_id=topic_id, offset=offset)

    def progress(self, engine: Engine, partition: int) -> PartitionProgress | None:
        """What is kept of the partition now; None before the first turn of any relay."""
        with engine.begin() as connection:
            return self._partitions(connection).get(partition)

    def _partitions(self, connection: Connection) -> dict[int, PartitionProgress]:
        return {
            partition: PartitionProgress(topic_id=topic_id, last_offset=last_offset, loss=loss, resolved_at=resolved_at)
            for partition, topic_id, last_offset, loss, resolved_at in connection.execute(_PARTITIONS, self._lane)
        }
