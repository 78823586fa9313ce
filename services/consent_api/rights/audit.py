"""Who did what about a person's rights, and when. Rows are only ever added, and hold no address and no reference."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, text

PAGE = 100
PERSON = "person"
"""Who: the person, by a link or a code of their own."""


class Act(StrEnum):
    REQUEST_OPENED = "request_opened"
    REQUEST_EXTENDED = "request_extended"
    REQUEST_DONE = "request_done"
    REQUEST_REFUSED = "request_refused"
    DATA_EXPORTED = "data_exported"
    PROOF_SHOWN = "proof_shown"
    ERASURE_BEGUN = "erasure_begun"
    ERASURE_ENDED = "erasure_ended"
    HOLD_SET = "hold_set"
    HOLD_RELEASED = "hold_released"
    RECTIFIED = "rectified"
    SIGNED_IN = "signed_in"
    PERSON_VIEWED = "person_viewed"
    ANSWER_PRINTED = "answer_printed"
    SPOKEN_WITHDRAWAL = "spoken_withdrawal"
    REVIEW_RESOLVED = "review_resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """``at`` in micros. ``object_id``: of the request, or the keyed hash of who it was about."""

    entry_id: int
    at: int
    who: str
    act: str
    object_id: str | None


def by_operator(name: str) -> str:
    """Who: someone with a command."""
    return f"operator:{name}"


_INSERT = text("""
INSERT INTO audit_entries (at, tenant, who, act, object_id) VALUES (:at, :tenant, :who, :act, :object_id)
""")
_LIST = text("""
SELECT entry_id, at, who, act, object_id FROM audit_entries
WHERE tenant = :tenant AND (CAST(:before AS bigint) IS NULL OR entry_id < :before)
ORDER BY entry_id DESC LIMIT :most
""")


def add(connection: Connection, *, tenant: str, who: str, act: Act, object_id: str | None, at: int) -> None:
    """In the transaction that does it, so that neither is there without the other."""
    connection.execute(_INSERT, {"at": at, "tenant": tenant, "who": who, "act": act.value, "object_id": object_id})


def entries(connection: Connection, *, tenant: str, before: int | None = None, most: int = PAGE) -> list[AuditEntry]:
    """The newest first; ``before`` this id."""
    rows = connection.execute(_LIST, {"tenant": tenant, "before": before, "most": most})
    return [AuditEntry(**row) for row in rows.mappings()]
