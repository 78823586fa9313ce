"""Subjects, and the lock on each that keeps a decision and a link from missing one another."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, text

Subject = tuple[str, str]
"""(tenant, subject_ref)"""

# Everybody takes these locks in one order, so two batches about the same people wait instead of deadlocking.
_CREATE = text("""
INSERT INTO subjects (tenant, subject_ref, created_at)
SELECT tenant, subject_ref, :now
FROM unnest(CAST(:tenants AS text[]), CAST(:refs AS text[])) AS wanted (tenant, subject_ref)
ORDER BY tenant, subject_ref
ON CONFLICT DO NOTHING
""")
_LOCK = text("""
SELECT subject_id, tenant, subject_ref
FROM subjects JOIN unnest(CAST(:tenants AS text[]), CAST(:refs AS text[])) AS wanted (tenant, subject_ref)
    USING (tenant, subject_ref)
ORDER BY tenant, subject_ref
FOR NO KEY UPDATE OF subjects
""")
_FIND = text("SELECT subject_id FROM subjects WHERE tenant = :tenant AND subject_ref = :ref")


def lock(connection: Connection, subjects: Collection[Subject], *, now: int) -> dict[Subject, int]:
    """The id of each subject, created when new, locked until the transaction ends."""
    if not subjects:
        return {}
    tenants, refs = zip(*subjects, strict=True)
    wanted = {"tenants": list(tenants), "refs": list(refs)}
    connection.execute(_CREATE, {**wanted, "now": now})
    return {(row.tenant, row.subject_ref): row.subject_id for row in connection.execute(_LOCK, wanted)}


def find(connection: Connection, tenant: str, subject_ref: str) -> int | None:
    """The id of a subject that exists."""
    found: int | None = connection.execute(_FIND, {"tenant": tenant, "ref": subject_ref}).scalar_one_or_none()
    return found
