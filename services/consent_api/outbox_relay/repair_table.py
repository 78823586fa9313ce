"""Which relay repairs which hole, and how far it has come, in the ledger. Raises SQLAlchemy's DBAPIError."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Engine, text

from consent_api.ledger.database import CLOCK_MICROS as _NOW
from consent_api.outbox_relay.holes import Hole, Repair
from consent_api.outbox_relay.points import Point
from consent_api.outbox_relay.timing import REPAIR_KEPT_SECONDS, REPAIR_LEASE_SECONDS

_MICROS = 1_000_000
_COLUMNS = "hole_id, topic_id, cursor, events, marker_offset"

_ALL = text(f"SELECT {_COLUMNS} FROM hole_repairs WHERE hole_id = ANY(:ids)")  # noqa: S608 - constants
# One relay repairs a hole: another takes over once this one has given no sign of life for the lease.
_CLAIM = text(
    "INSERT INTO hole_repairs AS r (hole_id, partition, channel, topic_id, taken_by, taken_at, started_at)"  # noqa: S608 - constants
    f" VALUES (:hole_id, :partition, :channel, :topic_id, :relay, {_NOW}, {_NOW})"
    f" ON CONFLICT (hole_id) DO UPDATE SET taken_by = :relay, taken_at = {_NOW}, topic_id = :topic_id,"
    " cursor = CASE WHEN r.topic_id = :topic_id THEN r.cursor END"
    f" WHERE r.repaired_at IS NULL AND (r.taken_by = :relay OR r.taken_at < {_NOW} - :lease)"
    f" RETURNING {_COLUMNS}"
)
_ADVANCE = text(
    f"UPDATE hole_repairs SET taken_at = {_NOW}, cursor = CAST(:cursor AS jsonb), events = events + :events"  # noqa: S608 - constants
    " WHERE hole_id = ANY(:ids) AND taken_by = :relay AND repaired_at IS NULL RETURNING hole_id"
)
_FINISH = text(
    f"UPDATE hole_repairs SET repaired_at = {_NOW}, marker_offset = :offset"  # noqa: S608 - constants
    " WHERE hole_id = :hole_id AND taken_by = :relay AND repaired_at IS NULL"
)
_REOPEN = text(
    "UPDATE hole_repairs SET repaired_at = NULL, marker_offset = NULL, cursor = NULL, taken_at = 0"
    " WHERE hole_id = :hole_id AND marker_offset = :offset"
)
_PRUNE = text(f"DELETE FROM hole_repairs WHERE repaired_at < {_NOW} - :kept AND NOT hole_id = ANY(:open)")  # noqa: S608 - constants
# What a marker may state besides: what was published last on its partition.
_LAST_RESOLVED = text(
    "SELECT p.resolved_at, p.loss, t.inbound_resolved_at FROM relay_partitions p"
    " LEFT JOIN relay_turn_points t ON t.lane = p.lane AND t.resolved_at = p.resolved_at"
    " WHERE p.lane = 'bulk' AND p.partition = :partition"
)


class RepairTable:
    def __init__(self, engine: Engine, *, relay: str) -> None:
        """`relay`: an id of this process that no other process has had."""
        self._engine = engine
        self._relay = relay

    def known(self, hole_ids: Collection[str]) -> dict[str, Repair]:
        with self._engine.connect() as connection:
            return {row.hole_id: _repair(row) for row in connection.execute(_ALL, {"ids": list(hole_ids)})}

    def claim(self, hole: Hole, *, topic_id: str) -> Repair | None:
        """The repair, to be done by this relay from its cursor on; None when another relay does it or has done it."""
        values = {
            "hole_id": hole.hole_id,
            "partition": hole.partition,
            "channel": hole.channel,
            "topic_id": topic_id,
            "relay": self._relay,
            "lease": int(REPAIR_LEASE_SECONDS * _MICROS),
        }
        with self._engine.begin() as connection:
            row = connection.execute(_CLAIM, values).first()
        return None if row is None else _repair(row)

    def advance(self, hole_ids: Collection[str], *, cursor: Mapping[str, Any] | None, events: int) -> set[str]:
        """Note how far the pass has come, or that it starts over (None). The holes that are still this relay's."""
        values = {
            "ids": list(hole_ids),
            "relay": self._relay,
            "cursor": None if cursor is None else json.dumps(cursor),
            "events": events,
        }
        with self._engine.begin() as connection:
            return set(connection.execute(_ADVANCE, values).scalars())

    def finish(self, hole_id: str, *, marker_offset: int) -> None:
        values = {"hole_id": hole_id, "relay": self._relay, "offset": marker_offset}
        with self._engine.begin() as connection:
            connection.execute(_FINISH, values)

    def reopen(self, repair: Repair) -> None:
        """The marker is lost. Changes nothing when another relay has reopened it already."""
        with self._engine.begin() as connection:
            connection.execute(_REOPEN, {"hole_id": repair.hole_id, "offset": repair.marker_offset})

    def prune(self, *, open_ids: Collection[str]) -> None:
        """Forget what was repaired long ago."""
        with self._engine.begin() as connection:
            connection.execute(_PRUNE, {"kept": int(REPAIR_KEPT_SECONDS * _MICROS), "open": list(open_ids)})

    def last_resolved(self, partition: int) -> tuple[Point, int]:
        """What the bulk lane stated last in this partition, and its loss number; a time of 0 before the first."""
        with self._engine.connect() as connection:
            row = connection.execute(_LAST_RESOLVED, {"partition": partition}).first()
        resolved_at, loss, inbound = (row.resolved_at, row.loss, row.inbound_resolved_at) if row else (None, 0, None)
        point = Point(turn=0, resolved_at=resolved_at or 0, highest_outbox_id=0, inbound_resolved_at=inbound)
        return point, loss


def _repair(row: Any) -> Repair:
    return Repair(
        hole_id=row.hole_id,
        topic_id=row.topic_id,
        cursor=row.cursor,
        events=row.events,
        marker_offset=row.marker_offset,
    )
