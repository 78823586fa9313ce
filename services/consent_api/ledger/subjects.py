"""Subjects, and the lock on each that keeps a decision and a link from missing one another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from consent_api.errors import LedgerContendedError

Subject = tuple[str, str]
"""(tenant, subject_ref)"""

# Every transaction takes these locks in one order, so two batches about the same people wait instead of deadlocking.
_CREATE = text("""
INSERT INTO subjects (tenant, subject_ref, created_at)
SELECT tenant, subject_ref, :now
FROM unnest(CAST(:tenants AS text[]), CAST(:refs AS text[])) AS wanted (tenant, subject_ref)
ORDER BY tenant, subject_ref
ON CONFLICT DO NOTHING
RETURNING subject_id, tenant, subject_ref
""")
_LOCK = text("""
SELECT subject_id, tenant, subject_ref
FROM subjects JOIN unnest(CAST(:tenants AS text[]), CAST(:refs AS text[])) AS wanted (tenant, subject_ref)
    USING (tenant, subject_ref)
ORDER BY tenant, subject_ref
FOR NO KEY UPDATE OF subjects
""")
_HAVING = text("""
SELECT DISTINCT s.subject_ref FROM subject_addresses l JOIN subjects s USING (subject_id)
WHERE l.address_id = ANY(CAST(:address_ids AS bigint[])) AND l.unlinked_at IS NULL ORDER BY s.subject_ref LIMIT :most
""")
_FIND = text("SELECT subject_id FROM subjects WHERE tenant = :tenant AND subject_ref = :ref")


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedSubjects:
    """Subjects that no other transaction can link, unlink or decide for until the transaction ends."""

    ids: Mapping[Subject, int]
    created: frozenset[int]
    """Those that did not exist before: they have neither addresses nor decisions."""

    @property
    def existing(self) -> list[int]:
        return [subject_id for subject_id in self.ids.values() if subject_id not in self.created]


def lock(connection: Connection, subjects: Collection[Subject], *, now: int) -> LockedSubjects:
    """Lock each subject, created when new. LedgerContendedError where one is erased at this moment."""
    ids: dict[Subject, int] = {}
    if subjects:
        created = connection.execute(_CREATE, {**_columns(subjects), "now": now})
        ids = {(row.tenant, row.subject_ref): row.subject_id for row in created}
    fresh = frozenset(ids.values())
    existing = [subject for subject in subjects if subject not in ids]
    if existing:
        locked = connection.execute(_LOCK, _columns(existing))
        ids.update({(row.tenant, row.subject_ref): row.subject_id for row in locked})
        if len(ids) < len(subjects):
            raise LedgerContendedError("a subject has just been erased")
    return LockedSubjects(ids=ids, created=fresh)


def _columns(subjects: Collection[Subject]) -> dict[str, list[str]]:
    return {"tenants": [tenant for tenant, _ in subjects], "refs": [ref for _, ref in subjects]}


def find(connection: Connection, tenant: str, subject_ref: str) -> int | None:
    """The id of a subject that exists."""
    found: int | None = connection.execute(_FIND, {"tenant": tenant, "ref": subject_ref}).scalar_one_or_none()
    return found


def having(connection: Connection, address_ids: Collection[int], *, most: int) -> list[str]:
    """The references that one of these addresses is linked to."""
    rows = connection.execute(_HAVING, {"address_ids": list(address_ids), "most": most})
    return [row.subject_ref for row in rows]
