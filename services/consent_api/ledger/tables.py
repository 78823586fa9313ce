"""The tables. All times are microseconds since the epoch, UTC, as in the contracts.

``decisions`` and ``decision_addresses`` only ever grow: the services' database role cannot change or delete a row.
No table holds a clear address: ``address_keys`` holds keyed hashes and the address sealed under each of them.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()

address_id_seq = Sequence("address_id_seq", metadata=metadata, data_type=BigInteger)

subjects = Table(
    "subjects",
    metadata,
    Column("subject_id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("subject_ref", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "subject_ref", name="subjects_by_ref"),
)

addresses = Table(
    "addresses",
    metadata,
    Column("address_id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# One row a live hash key: during a rotation an address is found, and published, under each of them.
address_keys = Table(
    "address_keys",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("address_id", BigInteger, ForeignKey("addresses.address_id"), nullable=False),
    Column("sealed_address", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "channel", "address_key"),
    Index("address_keys_of_address", "address_id"),
)

subject_addresses = Table(
    "subject_addresses",
    metadata,
    Column("subject_id", BigInteger, ForeignKey("subjects.subject_id"), nullable=False),
    Column("address_id", BigInteger, ForeignKey("addresses.address_id"), nullable=False),
    Column("linked_at", BigInteger, nullable=False),
    Column("unlinked_at", BigInteger),
    PrimaryKeyConstraint("subject_id", "address_id", "linked_at"),
    Index(
        "subject_addresses_linked",
        "subject_id",
        "address_id",
        unique=True,
        postgresql_where=text("unlinked_at IS NULL"),
    ),
)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("event_id", Text),
    Column("subject_id", BigInteger, ForeignKey("subjects.subject_id")),
    Column("address_id", BigInteger, ForeignKey("addresses.address_id")),
    Column("channel", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("effective_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    # True: reaches every address of the subject on the channel, those linked later included.
    Column("spreads", Boolean, nullable=False),
    Column("source_system", Text),
    Column("evidence", JSONB, nullable=False),
    CheckConstraint(
        "status IN ('given', 'refused', 'withdrawn', 'objected', 'expired', 'invalidated')", name="decisions_status"
    ),
    CheckConstraint("effective_at <= recorded_at", name="decisions_not_ahead"),
    CheckConstraint("subject_id IS NOT NULL OR address_id IS NOT NULL", name="decisions_of_someone"),
    CheckConstraint("status <> 'given' OR purpose <> '*'", name="decisions_given_is_specific"),
    CheckConstraint(
        "NOT spreads OR (subject_id IS NOT NULL AND status <> 'given')", name="decisions_only_refusals_spread"
    ),
    UniqueConstraint("tenant", "event_id", name="decisions_by_event"),
    Index("decisions_of_subject", "subject_id", "recorded_at"),
    Index(
        "decisions_inherited",
        "subject_id",
        "channel",
        "purpose",
        "effective_at",
        "decision_id",
        postgresql_where=text("spreads"),
    ),
)

# Which addresses a decision reached, and when: at once, or later because the address was linked later.
decision_addresses = Table(
    "decision_addresses",
    metadata,
    Column("address_id", BigInteger, ForeignKey("addresses.address_id"), nullable=False),
    Column("decision_id", Uuid, ForeignKey("decisions.decision_id"), nullable=False),
    Column("reached_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("address_id", "decision_id"),
    Index("decision_addresses_of_decision", "decision_id"),
)

# Written with the decision, deleted once the broker has acknowledged the record.
outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    # [[name, value], ...] in their order; CloudEvents headers are plain text.
    Column("headers", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# The answer to a request that was carried out, for the caller who asks again under the same Idempotency-Key.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", Text, nullable=False),
    # Keyed hashes, because callers put addresses into keys, and a plain hash of a body gives its address away.
    Column("key_hash", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "key_hash"),
    Index("idempotency_keys_by_age", "created_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("provider_reference", Text),
    Column("detail", Text),
)

receipt_decisions = Table(
    "receipt_decisions",
    metadata,
    Column("decision_id", Uuid, nullable=False),
    Column("receipt_id", Text, ForeignKey("receipts.receipt_id"), nullable=False),
    PrimaryKeyConstraint("decision_id", "receipt_id"),
)

GRANTS: dict[str, str] = {
    # PostgreSQL asks for UPDATE on some column before it lets a row be locked; nothing ever updates created_at.
    "subjects": "SELECT, INSERT, UPDATE (created_at)",
    "addresses": "SELECT, INSERT",
    "address_keys": "SELECT, INSERT",
    "subject_addresses": "SELECT, INSERT, UPDATE (unlinked_at)",
    "decisions": "SELECT, INSERT",
    "decision_addresses": "SELECT, INSERT",
    "outbox": "SELECT, INSERT, UPDATE, DELETE",
    "idempotency_keys": "SELECT, INSERT, DELETE",
    "api_keys": "SELECT",
    "receipts": "SELECT, INSERT",
    "receipt_decisions": "SELECT, INSERT",
    "alembic_version": "SELECT",
}
"""What the services' role may do, table by table; everything else is refused by PostgreSQL."""
