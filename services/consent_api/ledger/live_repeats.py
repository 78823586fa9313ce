"""Bulk decisions that a live request repeats: from then on they are live, and are published again on the live lane."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, text

from consent_api.ledger import addresses
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.rows import choice_of
from consent_privacy.keyring import Keyring

# In order, so that two requests with the same repetitions cannot deadlock. Of two at once only one gets a row back.
_MARK_LIVE = text("""
INSERT INTO live_repeats (decision_id, repeated_at)
SELECT decision_id, :now FROM unnest(CAST(:decision_ids AS uuid[])) AS repeated (decision_id) ORDER BY decision_id
ON CONFLICT DO NOTHING
RETURNING decision_id::text
""")
_REACHED = text("""
SELECT d.decision_id::text AS decision_id, r.address_id, s.subject_ref, d.purpose, d.status, d.effective_at,
       d.recorded_at, d.expires_at, d.spreads, d.source_system, false AS bulk
FROM decisions d JOIN decision_addresses r USING (decision_id) LEFT JOIN subjects s USING (subject_id)
WHERE d.decision_id = ANY(CAST(:decision_ids AS uuid[]))
ORDER BY d.decision_id, r.address_id
""")


def make_live(
    connection: Connection, keyring: Keyring, pending: PendingWrites, decision_ids: Collection[str], *, now: int
) -> None:
    """Mark the decisions live and publish them for every address they have reached.

    The caller has locked their subjects: an address that is linked meanwhile inherits the mark of before or of after,
    and in the first case is among those reached.
    """
    if not decision_ids:
        return
    marked = connection.execute(_MARK_LIVE, {"decision_ids": list(decision_ids), "now": now}).scalars().all()
    rows = connection.execute(_REACHED, {"decision_ids": marked}).all()
    reached = addresses.load(connection, keyring, {row.address_id for row in rows}, now=now)
    for row in rows:
        pending.publish_again(choice_of(row), reached[row.address_id])
