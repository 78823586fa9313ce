"""What became of an event, by its id: the decisions that were recorded of it, and the submissions that were refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.dialects.postgresql import insert

from consent_api.domain.effects import Outcome
from consent_api.domain.validation import Event
from consent_api.errors import FieldViolation
from consent_api.ledger.queries import outcomes_of_events
from consent_api.ledger.tables import refused_events

REFUSALS_KEPT_MICROS = 30 * 24 * 3600 * 1_000_000
"""As long as dead letters."""
MOST_RESULTS = 100
"""Of one event id: each of its sources has one that is recorded, and one that is refused, at most."""

_REFUSED = text("""
SELECT event_source, refused_at, errors, dead_letter, topic, partition, "offset" FROM refused_events
WHERE tenant = :tenant AND event_id = :event_id ORDER BY event_source LIMIT :most
""")
_FORGET = text("""
DELETE FROM refused_events WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM refused_events WHERE refused_at < :before ORDER BY refused_at LIMIT :most
    FOR UPDATE SKIP LOCKED))
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedEvent:
    """A submission by Kafka that was refused. ``dead_letter``: the reason of the one that holds its record."""

    event: Event
    refused_at: int
    errors: tuple[FieldViolation, ...]
    dead_letter: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedEvent:
    """The decision that was recorded of an event, and its effect now."""

    source: str
    decision_id: str
    effective_at: int
    recorded_at: int
    outcome: Outcome


def refuse(connection: Connection, refused: Sequence[RefusedEvent]) -> None:
    """Keep the newest refusal of each event."""
    by_event = {each.event: each for each in refused}
    if not by_event:
        return
    rows = [_row(by_event[event]) for event in sorted(by_event)]
    adding = insert(refused_events)
    key = ("tenant", "event_id", "event_source")
    changed = {name: adding.excluded[name] for name in rows[0] if name not in key}
    connection.execute(adding.on_conflict_do_update(index_elements=key, set_=changed), rows)


def find(connection: Connection, *, tenant: str, event_id: str) -> tuple[list[RecordedEvent], list[RefusedEvent]]:
    """Of every source of the tenant that has used this id."""
    recorded = [
        RecordedEvent(
            source=row.event_source,
            decision_id=row.decision_id,
            effective_at=row.effective_at,
            recorded_at=row.recorded_at,
            outcome=outcome,
        )
        for row, outcome in outcomes_of_events(connection, tenant=tenant, event_id=event_id, most=MOST_RESULTS)
    ]
    rows = connection.execute(_REFUSED, {"tenant": tenant, "event_id": event_id, "most": MOST_RESULTS})
    return recorded, [_refused(tenant, event_id, row) for row in rows]


def delete_expired(connection: Connection, *, now: int, most: int) -> int:
    """Delete up to `most` refusals older than `REFUSALS_KEPT_MICROS`, but for those that another process deletes; how
    many."""
    return connection.execute(_FORGET, {"before": now - REFUSALS_KEPT_MICROS, "most": most}).rowcount


def _row(refused: RefusedEvent) -> dict[str, Any]:
    tenant, source, event_id = refused.event
    return {
        "tenant": tenant,
        "event_id": event_id,
        "event_source": source,
        "refused_at": refused.refused_at,
        "errors": [[each.pointer, each.code, each.cure] for each in refused.errors],
        "dead_letter": refused.dead_letter,
        "topic": refused.topic,
        "partition": refused.partition,
        "offset": refused.offset,
    }


def _refused(tenant: str, event_id: str, row: Row[Any]) -> RefusedEvent:
    return RefusedEvent(
        event=(tenant, row.event_source, event_id),
        refused_at=row.refused_at,
        errors=tuple(FieldViolation(pointer=pointer, code=code, cure=cure) for pointer, code, cure in row.errors),
        dead_letter=row.dead_letter,
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
    )
