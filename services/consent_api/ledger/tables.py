"""The tables. All times are microseconds since the epoch, UTC, as in the contracts.

``decisions`` and ``decision_addresses`` only ever grow: the services' database role cannot change or delete a row, but
for an erasure, by functions of the owner's (`FUNCTIONS`).
A decision's lane mark is ``decisions.bulk``, unless ``live_repeats`` has a row for it: then it is live.
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
    # Since when an erasure is in progress; no permission is recorded meanwhile.
    Column("erasing_at", BigInteger),
    # When the last erasure took place that concerned it: every message about it says so.
    Column("erased_at", BigInteger),
)

# One row a live hash key: during a rotation an address is found, and published, under each of them.
address_keys = Table(
    "address_keys",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("address_id", BigInteger, ForeignKey("addresses.address_id"), nullable=False),
    # Null: erased.
    Column("sealed_address", LargeBinary),
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
    Index("subject_addresses_of_address", "address_id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    # The system whose event_id it is: two systems may use the same. Null as event_id is.
    Column("event_source", Text),
    Column("event_id", Text),
    Column("subject_id", BigInteger, ForeignKey("subjects.subject_id")),
    # The address that it names. One of decision_addresses, which hold the key.
    Column("address_id", BigInteger),
    Column("channel", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("status", Text, nullable=False),
    # When the person chose, as it was stated; null: it was not, and the time of receipt counts.
    Column("occurred_at", BigInteger),
    # What the order of decisions goes by. As occurred_at, but for permissions of a sender that may lift no refusal.
    Column("effective_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    # True: reaches every address of the subject on the channel, those linked later included.
    Column("spreads", Boolean, nullable=False),
    # True: recorded from a bulk source. A live repetition adds a row to live_repeats, because rows here never change.
    Column("bulk", Boolean, nullable=False, server_default=text("false")),
    Column("source_system", Text),
    Column("evidence", JSONB, nullable=False),
    # W3C Trace Context: the span of the request or record that submitted it. Null: of none, or of before 0005.
    Column("traceparent", Text),
    CheckConstraint(
        "status IN ('given', 'refused', 'withdrawn', 'objected', 'expired', 'invalidated')"
        " OR (purpose = '@delivery' AND status IN ('undeliverable', 'delivered'))",
        name="decisions_status",
    ),
    CheckConstraint("effective_at <= recorded_at", name="decisions_not_ahead"),
    CheckConstraint("subject_id IS NOT NULL OR address_id IS NOT NULL", name="decisions_of_someone"),
    CheckConstraint("status <> 'given' OR purpose <> '*'", name="decisions_given_is_specific"),
    CheckConstraint(
        "NOT spreads OR (subject_id IS NOT NULL AND status <> 'given')", name="decisions_only_refusals_spread"
    ),
    CheckConstraint("(event_source IS NULL) = (event_id IS NULL)", name="decisions_event_has_source"),
    UniqueConstraint("tenant", "event_id", "event_source", name="decisions_by_event"),
    Index("decisions_of_subject", "subject_id", "recorded_at"),
    Index("decisions_by_end", "expires_at", postgresql_where=text("status = 'given'")),
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

# Bulk decisions that a live request has repeated since: they are live from then on.
purposes = Table(
    "purposes",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    # Not unique: a live decision would wait for a bulk one that names the same new purpose.
    Index("purposes_of_tenant", "tenant", "purpose"),
)

# Refusals that a person made until a day, and the permissions that they gave for what follows. A row goes when the
# permission is recorded.
pauses = Table(
    "pauses",
    metadata,
    Column("decision_id", Uuid, ForeignKey("decisions.decision_id"), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("address_id", BigInteger, ForeignKey("addresses.address_id"), nullable=False),
    Column("subject_ref", Text),
    Column("channel", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    # The moment of the refusal that is the pause.
    Column("paused_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    # When the permission ends that follows.
    Column("expires_at", BigInteger, nullable=False),
    Column("evidence", JSONB, nullable=False),
    PrimaryKeyConstraint("decision_id", "address_id"),
    Index("pauses_by_end", "ends_at"),
    Index("pauses_of_address", "address_id"),
)

# What a person read before choosing. A row never changes.
notices = Table(
    "notices",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("notice_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    # In lower case.
    Column("language", Text, nullable=False),
    # As evidence has it: sha256: and hexadecimal digits, of the text in UTF-8.
    Column("sha256", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("valid_from", BigInteger),
    # [media type, sha256, place]
    Column("screenshot", JSONB),
    Column("registered_at", BigInteger, nullable=False),
    # Since when no permission rests on this version. Of one of its languages: all of them.
    Column("stale_at", BigInteger),
    # When this version was chosen as one that permissions have to rest on, and older ones, registered or not, ended.
    Column("ended_older_at", BigInteger),
    PrimaryKeyConstraint("tenant", "notice_id", "version", "language"),
)

# Permissions that were about to end, each looked at once.
renewals = Table(
    "renewals",
    metadata,
    Column("decision_id", Uuid, ForeignKey("decisions.decision_id"), primary_key=True),
    # True: it was in force, and its renewal is asked for.
    Column("due", Boolean, nullable=False),
    # One that it permitted.
    Column("address_id", BigInteger, ForeignKey("addresses.address_id")),
    Column("address_key", Text),
    Column("asked_at", BigInteger, nullable=False),
    # When Kafka acknowledged it, or it was no longer to be asked for.
    Column("published_at", BigInteger),
    CheckConstraint("NOT due OR (address_id IS NOT NULL AND address_key IS NOT NULL)", name="renewals_of_an_address"),
    Index("renewals_of_address", "address_id"),
    Index("renewals_unpublished", "decision_id", postgresql_where=text("due AND published_at IS NULL")),
)

# The code in force for an address, and how often it was asked for. Also of addresses that the ledger does not know.
address_codes = Table(
    "address_codes",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("sealed_code", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    # Of the code in force; as many as there may be once it was used.
    Column("tries", Integer, nullable=False),
    # Codes since that moment.
    Column("asked", Integer, nullable=False),
    Column("asked_since", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "channel", "address_key"),
)

# The text that confirmed a STOP: the last one let through at each address, and which withdrawal it confirmed.
allow_once_uses = Table(
    "allow_once_uses",
    metadata,
    Column("address_id", BigInteger, ForeignKey("addresses.address_id"), primary_key=True),
    Column("decision_id", Uuid, ForeignKey("decisions.decision_id"), nullable=False),
    Column("used_at", BigInteger, nullable=False),
)

# What tools report of an address: the last hard bounce, and the last delivery. A finding is recorded as a decision.
deliverability = Table(
    "deliverability",
    metadata,
    Column("address_id", BigInteger, ForeignKey("addresses.address_id"), primary_key=True),
    Column("bounced_at", BigInteger),
    Column("delivered_at", BigInteger),
    Index("deliverability_expiring", "delivered_at", postgresql_where=text("bounced_at IS NULL")),
)

live_repeats = Table(
    "live_repeats",
    metadata,
    Column("decision_id", Uuid, ForeignKey("decisions.decision_id"), primary_key=True),
    Column("repeated_at", BigInteger, nullable=False),
)

# Registers of oppositions: the loads that have ended, and as of when each load last listed an address.
register_loads = Table(
    "register_loads",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("register", Text, nullable=False),
    # For what its addresses were refused, and in which region its numbers were read; empty: they are no numbers.
    Column("channels", ARRAY(Text), nullable=False),
    Column("purposes", ARRAY(Text), nullable=False),
    Column("region", Text, nullable=False),
    # When the register was issued that the file holds.
    Column("as_of", BigInteger, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    Column("loaded_by", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("addresses", BigInteger, nullable=False),
    Column("recorded", BigInteger, nullable=False),
    Column("invalid", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "register", "loaded_at"),
)
register_entries = Table(
    "register_entries",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("register", Text, nullable=False),
    # Of addresses, without a foreign key: the decision of the same transaction has one.
    Column("address_id", BigInteger, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("as_of", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "register", "address_id", "purpose"),
)


def _outbox(name: str) -> Table:
    """Written with the decision, deleted once the broker has acknowledged the record."""
    return Table(
        name,
        metadata,
        Column("outbox_id", BigInteger, Identity(always=True), primary_key=True),
        Column("topic", Text, nullable=False),
        # Of the topic, for this key: how far a partition has been published is read from the table.
        Column("partition", Integer, nullable=False),
        Column("key", LargeBinary, nullable=False),
        Column("value", LargeBinary, nullable=False),
        # [[name, value], ...] in their order; CloudEvents headers are plain text.
        Column("headers", JSON, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Index(f"{name}_by_partition", "partition", "outbox_id"),
    )


# One a lane, so that no live row ever waits for a bulk one. A transaction writes rows of one of them only.
outbox = _outbox("outbox")
outbox_bulk = _outbox("outbox_bulk")

# Resolved timestamps: the state that all relays of an installation share. One row a lane ("live", "bulk"), on which a
# relay takes a turn by compare-and-set of the number.
relay_turns = Table(
    "relay_turns",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("turn", BigInteger, nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    Column("taken_by", Text, nullable=False),
    CheckConstraint("lane IN ('live', 'bulk')", name="relay_turns_lane"),
)

# What a turn has found: no row that was visible at ``resolved_at`` has an id above ``highest_outbox_id``.
relay_turn_points = Table(
    "relay_turn_points",
    metadata,
    Column("lane", Text, nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("resolved_at", BigInteger, nullable=False),
    Column("highest_outbox_id", BigInteger, nullable=False),
    # Read in the same statement as resolved_at. Null: no ingest is configured.
    Column("inbound_resolved_at", BigInteger),
    PrimaryKeyConstraint("lane", "turn"),
)

# What was last published on each partition of a lane's changes topic.
relay_partitions = Table(
    "relay_partitions",
    metadata,
    Column("lane", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("topic_id", Text, nullable=False),
    # Null: no record of ours has been acknowledged in this topic yet.
    Column("last_offset", BigInteger),
    Column("loss", BigInteger, nullable=False, server_default=text("0")),
    # Of the last ConsentResolved that was acknowledged; back-pressure goes by the lowest of the bulk lane's.
    Column("resolved_at", BigInteger),
    PrimaryKeyConstraint("lane", "partition"),
    CheckConstraint("lane IN ('live', 'bulk')", name="relay_partitions_lane"),
)

# Up to which append time ingest has recorded each partition of its topics.
ingest_positions = Table(
    "ingest_positions",
    metadata,
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("resolved_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition"),
)

# Holes of the list that a relay repairs from this ledger: by which relay, and how far it has come.
hole_repairs = Table(
    "hole_repairs",
    metadata,
    Column("hole_id", Text, primary_key=True),
    Column("partition", Integer, nullable=False),
    # Null: every channel.
    Column("channel", Text),
    # The bulk topic in which the repair publishes; one that was created again since has lost what was published.
    Column("topic_id", Text, nullable=False),
    Column("taken_by", Text, nullable=False),
    # The last sign of life of the relay that repairs it.
    Column("taken_at", BigInteger, nullable=False),
    # The cursor of the pass over the history; null before its first page.
    Column("cursor", JSONB),
    Column("events", BigInteger, nullable=False, server_default=text("0")),
    Column("started_at", BigInteger, nullable=False),
    # When the broker acknowledged the marker; null while the repair is under way.
    Column("repaired_at", BigInteger),
    # The offset of the marker in the bulk topic.
    Column("marker_offset", BigInteger),
)

# How far the comparison of the lists with this ledger has come: one row, and one relay at a time.
list_scrub = Table(
    "list_scrub",
    metadata,
    Column("scrub_id", Integer, primary_key=True, autoincrement=False),
    Column("taken_by", Text, nullable=False),
    # The last sign of life of the relay that compares.
    Column("taken_at", BigInteger, nullable=False),
    # When the pass began that is under way, or the last one. Null before the first.
    Column("started_at", BigInteger),
    # [[channel, number, of], ...]: the parts of the pass, and how many of them are done.
    Column("slices", JSONB, nullable=False, server_default=text("'[]'")),
    Column("done", Integer, nullable=False, server_default=text("0")),
    # When a pass went through all of its parts last.
    Column("completed_at", BigInteger),
    CheckConstraint("scrub_id = 1", name="list_scrub_one_row"),
)

# Hash keys under which everything that the ledger holds has been published: promoting and retiring ask for it.
key_republished = Table(
    "key_republished",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    # A keyed hash of a constant: another secret under the same id has another one.
    Column("fingerprint", Text, nullable=False),
    Column("completed_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "key_id", "fingerprint"),
)

# The answer to a request that was carried out, for the caller who asks again under the same Idempotency-Key.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", Text, nullable=False),
    # Keyed hashes, because callers put addresses into keys, and a plain hash of a body reveals its address.
    Column("key_hash", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "key_hash"),
    Index("idempotency_keys_by_age", "created_at"),
)

# The submissions by Kafka that were refused: their producers do not wait for an answer, but may ask for it.
refused_events = Table(
    "refused_events",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("event_source", Text, nullable=False),
    Column("refused_at", BigInteger, nullable=False),
    # [[field, code, cure], ...]
    Column("errors", JSONB, nullable=False),
    Column("dead_letter", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "event_id", "event_source"),
    Index("refused_events_by_age", "refused_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    # False: permissions sent with it lift no refusal.
    Column("may_lift", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

key_exports = Table(
    "key_exports",
    metadata,
    Column("host", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("exported_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("host", "path"),
)
"""The files of digests that processes without a database read: a key is revoked in them too. For the owner alone."""

# Of the console. The token is its browser's alone: here is its digest.
console_sessions = Table(
    "console_sessions",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("key_id", Text, ForeignKey("api_keys.key_id"), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Index("console_sessions_by_age", "started_at"),
)

# A reply in doubt. The text is sealed, and goes when a person has resolved it.
reviews = Table(
    "reviews",
    metadata,
    Column("review_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("decision_ids", ARRAY(Uuid), nullable=False),
    Column("sealed_reply", LargeBinary),
    Column("received_at", BigInteger, nullable=False),
    Column("resolution", Text),
    Column("resolved_at", BigInteger),
    Column("resolved_by", Text),
    Column("restored", ARRAY(Uuid)),
    CheckConstraint("resolution IN ('withdrawal', 'not_a_withdrawal')", name="reviews_resolution"),
    CheckConstraint("(resolution IS NULL) = (resolved_at IS NULL)", name="reviews_resolved"),
    Index("reviews_open", "tenant", "review_id", postgresql_where=text("resolved_at IS NULL")),
)

# What a person asks for by right. The person is sealed, and goes with an erasure; what is left names no one.
rights_requests = Table(
    "rights_requests",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # Keyed hashes of the reference and of the address.
    Column("person_keys", ARRAY(Text), nullable=False),
    Column("sealed_person", LargeBinary),
    Column("identity", Text, nullable=False),
    Column("identity_note", Text),
    Column("opened_at", BigInteger, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("extended_at", BigInteger),
    Column("extension_reason", Text),
    Column("state", Text, nullable=False),
    Column("resolved_at", BigInteger),
    Column("resolved_by", Text),
    Column("reason", Text),
    Column("certificate", JSONB),
    # The erasure that carries it out, while it is open.
    Column("erasure_id", Uuid),
    CheckConstraint(
        "kind IN ('access', 'portability', 'rectification', 'erasure', 'objection')", name="rights_requests_kind"
    ),
    CheckConstraint("identity IN ('link', 'code', 'operator')", name="rights_requests_identity"),
    CheckConstraint("state IN ('open', 'done', 'refused')", name="rights_requests_state"),
    CheckConstraint("(state = 'open') = (resolved_at IS NULL)", name="rights_requests_resolved"),
    CheckConstraint("(extended_at IS NULL) = (extension_reason IS NULL)", name="rights_requests_extended"),
    Index("rights_requests_listed", "tenant", text("((state <> 'open')::integer)"), "due_at", "request_id"),
    Index("rights_requests_open", "kind", postgresql_where=text("state = 'open'")),
    Index("rights_requests_of_person", "person_keys", postgresql_using="gin"),
    Index("rights_requests_of_erasure", "erasure_id", postgresql_where=text("erasure_id IS NOT NULL")),
)

# Who did what about a person's rights, or to the installation: no address, no reference. Without a tenant: to all.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("tenant", Text),
    Column("who", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("object_id", Text),
    Index("audit_entries_of_tenant", "tenant", "entry_id"),
    Index("audit_entries_by_time", "at", "entry_id"),
)

# Erasures (GDPR, article 17). What is left of one once it has ended: keyed hashes and numbers.
erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    # The tools are delivered the objection first; this long they have at most.
    Column("notify_until", BigInteger, nullable=False),
    # Null: an address alone, or the subject is gone.
    Column("subject_id", BigInteger),
    # When all was erased; it ends once Kafka has been delivered.
    Column("erased_at", BigInteger),
    Column("ended_at", BigInteger),
    # Not tried before, after a failure.
    Column("next_turn_at", BigInteger, nullable=False, server_default=text("0")),
    Column("certificate", JSONB),
    Index("erasures_in_progress", "next_turn_at", postgresql_where=text("ended_at IS NULL")),
)

# The addresses of an erasure, until it ends.
erasure_addresses = Table(
    "erasure_addresses",
    metadata,
    Column("erasure_id", Uuid, ForeignKey("erasures.erasure_id"), nullable=False),
    # An erasure gives the address another number.
    Column("address_id", BigInteger, nullable=False),
    # False: it is another subject's too, or was the person's once: what concerns this person goes, the address stays.
    Column("forget", Boolean, nullable=False),
    # The objection that the tools are delivered.
    Column("objection", Uuid),
    Column("erased_at", BigInteger),
    # Of the rows that went and that stay, by kind, and which tools were delivered.
    Column("outcome", JSONB),
    PrimaryKeyConstraint("erasure_id", "address_id"),
    Index("erasure_addresses_of_address", "address_id"),
)

# Keyed hashes of who has been erased, subjects and addresses: an import does not bring them back.
erased_persons = Table(
    "erased_persons",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("person_key", Text, nullable=False),
    Column("erasure_id", Uuid, ForeignKey("erasures.erasure_id"), nullable=False),
    # Null: in progress.
    Column("erased_at", BigInteger),
    PrimaryKeyConstraint("tenant", "person_key"),
    Index("erased_persons_of_erasure", "erasure_id"),
)

# Proof of consents that outlives an erasure because a law says so. No evidence texts: what refers to the notice.
retained_proofs = Table(
    "retained_proofs",
    metadata,
    Column("proof_id", BigInteger, Identity(always=True), primary_key=True),
    Column("erasure_id", Uuid, ForeignKey("erasures.erasure_id"), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("effective_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("notice", JSONB, nullable=False),
    Column("ground", Text, nullable=False),
    Column("keep_until", BigInteger, nullable=False),
    Index("retained_proofs_of_address", "tenant", "channel", "address_key"),
    Index("retained_proofs_by_end", "keep_until"),
)

# What a court or a dispute needs: a person with one of these keyed hashes is not erased.
legal_holds = Table(
    "legal_holds",
    metadata,
    Column("hold_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("person_keys", ARRAY(Text), nullable=False),
    Column("reason", Text, nullable=False),
    Column("set_at", BigInteger, nullable=False),
    Column("set_by", Text, nullable=False),
    # Null: until it is released.
    Column("until", BigInteger),
    Column("released_at", BigInteger),
    Column("released_by", Text),
    Index("legal_holds_of_person", "person_keys", postgresql_using="gin"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("target", Text),
    Column("action", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("reached_at", BigInteger, nullable=False),
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
    "addresses": "SELECT, INSERT, UPDATE (created_at, erasing_at)",
    "address_keys": "SELECT, INSERT",
    "subject_addresses": "SELECT, INSERT, UPDATE (unlinked_at)",
    "decisions": "SELECT, INSERT",
    "decision_addresses": "SELECT, INSERT",
    "purposes": "SELECT, INSERT",
    "pauses": "SELECT, INSERT, UPDATE (ends_at), DELETE",
    "notices": "SELECT, INSERT, UPDATE (stale_at, ended_older_at)",
    "renewals": "SELECT, INSERT, UPDATE",
    "address_codes": "SELECT, INSERT, UPDATE, DELETE",
    "allow_once_uses": "SELECT, INSERT, UPDATE",
    "deliverability": "SELECT, INSERT, UPDATE, DELETE",
    "register_loads": "SELECT, INSERT",
    "register_entries": "SELECT, INSERT, UPDATE (as_of)",
    "live_repeats": "SELECT, INSERT",
    "outbox": "SELECT, INSERT, UPDATE, DELETE",
    "outbox_bulk": "SELECT, INSERT, UPDATE, DELETE",
    "relay_turns": "SELECT, INSERT, UPDATE",
    "relay_turn_points": "SELECT, INSERT, DELETE",
    "relay_partitions": "SELECT, INSERT, UPDATE",
    "ingest_positions": "SELECT, INSERT, UPDATE",
    "hole_repairs": "SELECT, INSERT, UPDATE, DELETE",
    "list_scrub": "SELECT, INSERT, UPDATE",
    "key_republished": "SELECT, INSERT, UPDATE",
    "idempotency_keys": "SELECT, INSERT, UPDATE (created_at), DELETE",
    "refused_events": "SELECT, INSERT, UPDATE, DELETE",
    "reviews": "SELECT, INSERT, UPDATE",
    "rights_requests": "SELECT, INSERT, UPDATE",
    "audit_entries": "SELECT, INSERT",
    "erasures": "SELECT, INSERT, UPDATE (notify_until, subject_id, erased_at, ended_at, next_turn_at, certificate)",
    "erasure_addresses": "SELECT, INSERT, UPDATE, DELETE",
    "erased_persons": "SELECT, INSERT, UPDATE, DELETE",
    "retained_proofs": "SELECT, INSERT, DELETE",
    "legal_holds": "SELECT, INSERT, UPDATE (released_at, released_by)",
    "api_keys": "SELECT",
    "console_sessions": "SELECT, INSERT, UPDATE (seen_at), DELETE",
    "receipts": "SELECT, INSERT",
    "receipt_decisions": "SELECT, INSERT",
    "alembic_version": "SELECT",
}
"""What the services' role may do, table by table; everything else is refused by PostgreSQL."""

FUNCTIONS = (
    "erase_address(bigint, bigint, bigint, boolean, bigint)",
    "erase_subject(bigint, bigint)",
    "seal_address_again(bigint, text[], bytea[])",
)
"""What the services' role may do besides, as the owner: the only ways in which a decision ever goes, each of them for
an erasure that is in progress, or in which an erased address gets a sealed form again."""
