"""The rows that make a decision: itself, its links, the addresses it reached. Set-based, one statement a table."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from consent_contracts.decisions import Decision

from .reach import Choice


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDecision:
    """One row of ``decisions``."""

    tenant: str
    channel: str
    event_id: str | None
    subject_id: int | None
    address_id: int | None
    choice: Choice
    evidence: Mapping[str, str] = field(repr=False)


# No ON CONFLICT: whoever meets another writer at an event id starts again, and then finds the first decision.
# The order of the rows keeps two such batches from deadlocking at that index.
_DECISIONS = text("""
INSERT INTO decisions (decision_id, tenant, event_id, subject_id, address_id, channel, purpose, status,
                       effective_at, recorded_at, expires_at, spreads, source_system, evidence)
SELECT decision_id, tenant, event_id, subject_id, address_id, channel, purpose, status,
       effective_at, recorded_at, expires_at, spreads, source_system, evidence::jsonb
FROM unnest(CAST(:decision_ids AS uuid[]), CAST(:tenants AS text[]), CAST(:event_ids AS text[]),
            CAST(:subject_ids AS bigint[]), CAST(:address_ids AS bigint[]), CAST(:channels AS text[]),
            CAST(:purposes AS text[]), CAST(:statuses AS text[]), CAST(:effective AS bigint[]),
            CAST(:recorded AS bigint[]), CAST(:expires AS bigint[]), CAST(:spreads AS boolean[]),
            CAST(:sources AS text[]), CAST(:evidence AS text[]))
    AS new (decision_id, tenant, event_id, subject_id, address_id, channel, purpose, status,
            effective_at, recorded_at, expires_at, spreads, source_system, evidence)
ORDER BY tenant, event_id
""")
_LINKS = text("""
INSERT INTO subject_addresses (subject_id, address_id, linked_at)
SELECT subject_id, address_id, :now
FROM unnest(CAST(:subject_ids AS bigint[]), CAST(:address_ids AS bigint[])) AS new (subject_id, address_id)
""")
_REACHED = text("""
INSERT INTO decision_addresses (address_id, decision_id, reached_at)
SELECT address_id, decision_id, :now
FROM unnest(CAST(:address_ids AS bigint[]), CAST(:decision_ids AS uuid[])) AS new (address_id, decision_id)
ON CONFLICT DO NOTHING
""")
_INHERITED = text("""
SELECT DISTINCT ON (d.subject_id, d.channel, d.purpose)
       d.subject_id, s.subject_ref, d.channel, d.decision_id::text AS decision_id, d.purpose, d.status,
       d.effective_at, d.recorded_at, d.source_system
FROM decisions d JOIN subjects s USING (subject_id)
WHERE d.subject_id = ANY(CAST(:subject_ids AS bigint[])) AND d.spreads
ORDER BY d.subject_id, d.channel, d.purpose, d.effective_at DESC, d.decision_id DESC
""")


def insert_decisions(connection: Connection, new: Collection[NewDecision]) -> None:
    """Add decisions to the ledger."""
    if not new:
        return
    choices = [each.choice.decision for each in new]
    connection.execute(
        _DECISIONS,
        {
            "decision_ids": [each.decision_id for each in choices],
            "tenants": [each.tenant for each in new],
            "event_ids": [each.event_id for each in new],
            "subject_ids": [each.subject_id for each in new],
            "address_ids": [each.address_id for each in new],
            "channels": [each.channel for each in new],
            "purposes": [each.purpose for each in choices],
            "statuses": [each.status for each in choices],
            "effective": [each.effective_at for each in choices],
            "recorded": [each.recorded_at for each in choices],
            "expires": [each.expires_at for each in choices],
            "spreads": [each.choice.spreads for each in new],
            "sources": [each.choice.source_system for each in new],
            "evidence": [json.dumps(dict(each.evidence), ensure_ascii=False) for each in new],
        },
    )


def insert_links(connection: Connection, links: Collection[tuple[int, int]], *, now: int) -> None:
    """Link (subject_id, address_id) pairs that are not linked; the subjects are locked by the caller."""
    if links:
        subject_ids, address_ids = zip(*links, strict=True)
        connection.execute(_LINKS, {"subject_ids": list(subject_ids), "address_ids": list(address_ids), "now": now})


def insert_reached(connection: Connection, reached: Collection[tuple[int, str]], *, now: int) -> None:
    """Note that each (address_id, decision_id) was reached; a link made again reaches nothing new."""
    if reached:
        address_ids, decision_ids = zip(*reached, strict=True)
        connection.execute(_REACHED, {"address_ids": list(address_ids), "decision_ids": list(decision_ids), "now": now})


def inherited(connection: Connection, subject_ids: Iterable[int]) -> list[tuple[int, str, Choice]]:
    """(subject_id, channel, refusal): what an address linked now inherits."""
    wanted = sorted(set(subject_ids))
    if not wanted:
        return []
    return [
        (
            row.subject_id,
            row.channel,
            Choice(
                decision=Decision(
                    decision_id=row.decision_id,
                    subject_ref=row.subject_ref,
                    purpose=row.purpose,
                    status=row.status,
                    effective_at=row.effective_at,
                    recorded_at=row.recorded_at,
                ),
                spreads=True,
                source_system=row.source_system,
            ),
        )
        for row in connection.execute(_INHERITED, {"subject_ids": wanted})
    ]
