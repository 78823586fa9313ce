"""The rows that make a decision: itself, its links, the addresses it reached, the messages about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection, text

from consent_api.domain.fan_out import PublishableDecision
from consent_api.domain.validation import Event
from consent_api.ledger.lanes import MARK, Lane
from consent_api.ledger.outbox_messages import Message
from consent_api.ledger.rows import choice_of


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDecision:
    """One row of ``decisions``."""

    tenant: str
    channel: str
    event: Event | None
    subject_id: int | None
    address_id: int | None
    choice: PublishableDecision
    occurred_at: int | None
    evidence: Mapping[str, str] = field(repr=False)


# One statement, and one JSON text a table, because for a single decision every round trip counts, and for a thousand
# the driver would spend longer on arrays than PostgreSQL on the rows.
# Decisions have no ON CONFLICT: a transaction that meets another writer at an event id starts again, and then finds
# the first decision. The order of the rows keeps two such batches from deadlocking at that index. An address that is
# linked again is reached again by what it inherits, hence the only ON CONFLICT.
_WRITE_TO = """
WITH new_decisions AS (
    INSERT INTO decisions (decision_id, tenant, event_source, event_id, subject_id, address_id, channel, purpose,
                           status, occurred_at, effective_at, recorded_at, expires_at, spreads, bulk, source_system,
                           evidence, traceparent)
    SELECT * FROM json_to_recordset(CAST(:decisions AS json)) AS new (
        decision_id uuid, tenant text, event_source text, event_id text, subject_id bigint, address_id bigint,
        channel text, purpose text, status text, occurred_at bigint, effective_at bigint, recorded_at bigint,
        expires_at bigint, spreads boolean, bulk boolean, source_system text, evidence jsonb,
        traceparent text)
    ORDER BY tenant, event_source, event_id
), new_links AS (
    INSERT INTO subject_addresses (subject_id, address_id, linked_at)
    SELECT subject_id, address_id, :now
    FROM json_to_recordset(CAST(:links AS json)) AS new (subject_id bigint, address_id bigint)
), new_reached AS (
    INSERT INTO decision_addresses (address_id, decision_id, reached_at)
    SELECT address_id, decision_id, :now
    FROM json_to_recordset(CAST(:reached AS json)) AS new (address_id bigint, decision_id uuid)
    ON CONFLICT DO NOTHING
)
INSERT INTO {outbox} (topic, partition, key, value, headers, created_at)
SELECT topic, partition, decode(key, 'base64'), decode(value, 'base64'), headers::json, :now
FROM json_to_recordset(CAST(:messages AS json))
    AS new (topic text, partition int, key text, value text, headers text)
"""
_WRITE = {lane: text(_WRITE_TO.format(outbox=lane.outbox)) for lane in Lane}
_INHERITED = text(f"""
SELECT DISTINCT ON (d.subject_id, d.channel, d.purpose)
       d.subject_id, s.subject_ref, d.channel, d.decision_id::text AS decision_id, d.purpose, d.status,
       d.effective_at, d.recorded_at, d.expires_at, d.spreads, d.source_system, {MARK}
FROM decisions d JOIN subjects s USING (subject_id)
WHERE d.subject_id = ANY(CAST(:subject_ids AS bigint[])) AND d.spreads
ORDER BY d.subject_id, d.channel, d.purpose, d.effective_at DESC, d.decision_id DESC
""")  # noqa: S608 - constants


def write(
    connection: Connection,
    *,
    decisions: Collection[NewDecision] = (),
    links: Collection[tuple[int, int]] = (),
    reached: Collection[tuple[int, str]] = (),
    messages: Collection[Message] = (),
    lane: Lane,
    now: int,
) -> None:
    """Add decisions; link (subject_id, address_id) pairs that are not linked, their subjects locked by the caller;
    note that (address_id, decision_id) were reached; and leave the messages in the lane's outbox for the relay."""
    if not (decisions or links or reached or messages):
        return
    connection.execute(
        _WRITE[lane],
        {
            "decisions": _json([_row(each) for each in decisions]),
            "links": _json([{"subject_id": subject, "address_id": address} for subject, address in links]),
            "reached": _json([{"address_id": address, "decision_id": decision} for address, decision in reached]),
            # Bytes become base64.
            "messages": _json(messages),
            "now": now,
        },
    )


def _row(new: NewDecision) -> dict[str, object]:
    decision = new.choice.decision
    return {
        "decision_id": decision.decision_id,
        "tenant": new.tenant,
        "event_source": new.event[1] if new.event is not None else None,
        "event_id": new.event[2] if new.event is not None else None,
        "subject_id": new.subject_id,
        "address_id": new.address_id,
        "channel": new.channel,
        "purpose": decision.purpose,
        "status": decision.status,
        "occurred_at": new.occurred_at,
        "effective_at": decision.effective_at,
        "recorded_at": decision.recorded_at,
        "expires_at": decision.expires_at,
        "spreads": new.choice.spreads,
        "bulk": decision.bulk,
        "source_system": new.choice.source_system,
        "evidence": dict(new.evidence),
        "traceparent": new.choice.traceparent,
    }


def _json(rows: Collection[object]) -> str:
    return msgspec.json.encode(rows).decode()


def inherited_refusals(
    connection: Connection, subject_ids: Iterable[int]
) -> list[tuple[int, str, PublishableDecision]]:
    """(subject_id, channel, refusal): what an address linked now inherits."""
    wanted = sorted(set(subject_ids))
    if not wanted:
        return []
    return [
        (row.subject_id, row.channel, choice_of(row)) for row in connection.execute(_INHERITED, {"subject_ids": wanted})
    ]
