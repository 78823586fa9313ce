"""Who did what, and when: about a person's rights, and to the installation. Rows are only ever added, by services and
commands alike, and hold no address and no reference."""

from __future__ import annotations

import getpass
import platform
from dataclasses import asdict, dataclass
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
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    KEYS_EXPORTED = "keys_exported"
    KEY_EXPORT_FORGOTTEN = "key_export_forgotten"
    KEYRING_GENERATED = "keyring_generated"
    KEYRING_EXPORTED = "keyring_exported"
    KEYRING_TENANT_ADDED = "keyring_tenant_added"
    KEYRING_KEY_ADDED = "keyring_key_added"
    KEYRING_KEY_PROMOTED = "keyring_key_promoted"
    KEYRING_KEY_RETIRED = "keyring_key_retired"
    DEAD_LETTERS_SHOWN = "dead_letters_shown"
    DEAD_LETTERS_REPLAYED = "dead_letters_replayed"
    REPUBLISHED = "republished"
    LISTS_REPAIRED = "lists_repaired"
    TOPICS_APPLIED = "topics_applied"
    DATABASE_MIGRATED = "database_migrated"
    NOTICE_REGISTERED = "notice_registered"
    NOTICES_MADE_STALE = "notices_made_stale"
    REGISTER_LOADED = "register_loaded"
    DESTINATION_FORGOTTEN = "destination_forgotten"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """``at`` in micros. ``tenant``: None for what concerns all. ``object_id``: the request, key, file or topic, or the
    keyed hash of who it was about."""

    entry_id: int
    at: int
    tenant: str | None
    who: str
    act: str
    object_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which entries. Times in micros, ``until`` excluded; None: any."""

    tenant: str | None = None
    since: int | None = None
    until: int | None = None
    who: str | None = None
    act: str | None = None


def by_operator(name: str | None = None) -> str:
    """Who: someone with a command, as the account of the operating system and the host where it runs, and as they name
    themselves where a command asks for that."""
    account = f"{getpass.getuser()} on {platform.node()}"
    return f"operator:{account}" if name is None else f"operator:{name} ({account})"


_INSERT = text("""
INSERT INTO audit_entries (at, tenant, who, act, object_id) VALUES (:at, :tenant, :who, :act, :object_id)
""")
_LIST = text("""
SELECT entry_id, at, tenant, who, act, object_id FROM audit_entries
WHERE (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
  AND (CAST(:since AS bigint) IS NULL OR at >= :since)
  AND (CAST(:until AS bigint) IS NULL OR at < :until)
  AND (CAST(:who AS text) IS NULL OR who = :who)
  AND (CAST(:act AS text) IS NULL OR act = :act)
  AND (CAST(:before AS bigint) IS NULL OR entry_id < :before)
ORDER BY entry_id DESC LIMIT :most
""")


def add(connection: Connection, *, tenant: str | None, who: str, act: Act, object_id: str | None, at: int) -> None:
    """In the transaction that does it, so that neither is there without the other; of what is done outside the
    database, before it is done."""
    connection.execute(_INSERT, {"at": at, "tenant": tenant, "who": who, "act": act.value, "object_id": object_id})


def entries(connection: Connection, wanted: Filter, *, before: int | None = None, most: int = PAGE) -> list[AuditEntry]:
    """The newest first; ``before`` this id."""
    rows = connection.execute(_LIST, {**asdict(wanted), "before": before, "most": most})
    return [AuditEntry(**row) for row in rows.mappings()]
