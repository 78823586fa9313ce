"""The ledger as it was first released: decisions, addresses, outbox, receipts, API keys."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE SEQUENCE address_id_seq AS bigint;

CREATE TABLE subjects (
    subject_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    subject_ref text NOT NULL,
    created_at bigint NOT NULL,
    CONSTRAINT subjects_by_ref UNIQUE (tenant, subject_ref)
);

CREATE TABLE addresses (
    address_id bigint PRIMARY KEY,
    tenant text NOT NULL,
    channel text NOT NULL,
    created_at bigint NOT NULL,
    erasing_at bigint,
    erased_at bigint
);

CREATE TABLE address_keys (
    tenant text NOT NULL,
    channel text NOT NULL,
    address_key text NOT NULL,
    address_id bigint NOT NULL REFERENCES addresses,
    sealed_address bytea,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant, channel, address_key)
);
CREATE INDEX address_keys_of_address ON address_keys (address_id);

CREATE TABLE subject_addresses (
    subject_id bigint NOT NULL REFERENCES subjects,
    address_id bigint NOT NULL REFERENCES addresses,
    linked_at bigint NOT NULL,
    unlinked_at bigint,
    PRIMARY KEY (subject_id, address_id, linked_at)
);
CREATE UNIQUE INDEX subject_addresses_linked ON subject_addresses (subject_id, address_id) WHERE unlinked_at IS NULL;
CREATE INDEX subject_addresses_of_address ON subject_addresses (address_id);

CREATE TABLE decisions (
    decision_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    event_source text,
    event_id text,
    subject_id bigint REFERENCES subjects,
    address_id bigint,
    channel text NOT NULL,
    purpose text NOT NULL,
    status text NOT NULL,
    occurred_at bigint,
    effective_at bigint NOT NULL,
    recorded_at bigint NOT NULL,
    expires_at bigint,
    spreads boolean NOT NULL,
    bulk boolean NOT NULL DEFAULT false,
    source_system text,
    evidence jsonb NOT NULL,
    CONSTRAINT decisions_by_event UNIQUE (tenant, event_id, event_source),
    CONSTRAINT decisions_event_has_source CHECK ((event_source IS NULL) = (event_id IS NULL)),
    CONSTRAINT decisions_status
        CHECK (status IN ('given', 'refused', 'withdrawn', 'objected', 'expired', 'invalidated')
               OR (purpose = '@delivery' AND status IN ('undeliverable', 'delivered'))),
    CONSTRAINT decisions_not_ahead CHECK (effective_at <= recorded_at),
    CONSTRAINT decisions_of_someone CHECK (subject_id IS NOT NULL OR address_id IS NOT NULL),
    CONSTRAINT decisions_given_is_specific CHECK (status <> 'given' OR purpose <> '*'),
    CONSTRAINT decisions_only_refusals_spread CHECK (NOT spreads OR (subject_id IS NOT NULL AND status <> 'given'))
);
CREATE INDEX decisions_of_subject ON decisions (subject_id, recorded_at);
CREATE INDEX decisions_by_end ON decisions (expires_at) WHERE status = 'given';
CREATE INDEX decisions_inherited ON decisions (subject_id, channel, purpose, effective_at, decision_id) WHERE spreads;

CREATE TABLE decision_addresses (
    address_id bigint NOT NULL REFERENCES addresses,
    decision_id uuid NOT NULL REFERENCES decisions,
    reached_at bigint NOT NULL,
    PRIMARY KEY (address_id, decision_id)
);
CREATE INDEX decision_addresses_of_decision ON decision_addresses (decision_id);

CREATE TABLE purposes (
    tenant text NOT NULL,
    purpose text NOT NULL
);
CREATE INDEX purposes_of_tenant ON purposes (tenant, purpose);

CREATE TABLE live_repeats (
    decision_id uuid PRIMARY KEY REFERENCES decisions,
    repeated_at bigint NOT NULL
);

CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    headers json NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX outbox_by_partition ON outbox (partition, outbox_id);
CREATE TABLE outbox_bulk (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    headers json NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX outbox_bulk_by_partition ON outbox_bulk (partition, outbox_id);
-- Rows live for milliseconds, so dead ones pile up faster than the defaults expect.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
ALTER TABLE outbox_bulk SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

CREATE TABLE relay_turns (
    lane text PRIMARY KEY,
    turn bigint NOT NULL,
    taken_at bigint NOT NULL,
    taken_by text NOT NULL,
    CONSTRAINT relay_turns_lane CHECK (lane IN ('live', 'bulk'))
);

CREATE TABLE relay_turn_points (
    lane text NOT NULL,
    turn bigint NOT NULL,
    resolved_at bigint NOT NULL,
    highest_outbox_id bigint NOT NULL,
    inbound_resolved_at bigint,
    PRIMARY KEY (lane, turn)
);

CREATE TABLE relay_partitions (
    lane text NOT NULL,
    partition integer NOT NULL,
    topic_id text NOT NULL,
    last_offset bigint,
    loss bigint NOT NULL DEFAULT 0,
    resolved_at bigint,
    PRIMARY KEY (lane, partition),
    CONSTRAINT relay_partitions_lane CHECK (lane IN ('live', 'bulk'))
);

CREATE TABLE ingest_positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    resolved_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

CREATE TABLE hole_repairs (
    hole_id text PRIMARY KEY,
    partition integer NOT NULL,
    channel text,
    topic_id text NOT NULL,
    taken_by text NOT NULL,
    taken_at bigint NOT NULL,
    cursor jsonb,
    events bigint NOT NULL DEFAULT 0,
    started_at bigint NOT NULL,
    repaired_at bigint,
    marker_offset bigint
);

CREATE TABLE list_scrub (
    scrub_id integer PRIMARY KEY,
    taken_by text NOT NULL,
    taken_at bigint NOT NULL,
    started_at bigint,
    slices jsonb NOT NULL DEFAULT '[]',
    done integer NOT NULL DEFAULT 0,
    completed_at bigint,
    CONSTRAINT list_scrub_one_row CHECK (scrub_id = 1)
);

CREATE TABLE key_republished (
    tenant text NOT NULL,
    key_id text NOT NULL,
    fingerprint text NOT NULL,
    completed_at bigint NOT NULL,
    PRIMARY KEY (tenant, key_id, fingerprint)
);

CREATE TABLE idempotency_keys (
    tenant text NOT NULL,
    key_hash text NOT NULL,
    request_hash text NOT NULL,
    status integer NOT NULL,
    body bytea NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant, key_hash)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE refused_events (
    tenant text NOT NULL,
    event_id text NOT NULL,
    event_source text NOT NULL,
    refused_at bigint NOT NULL,
    errors jsonb NOT NULL,
    dead_letter text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (tenant, event_id, event_source)
);
CREATE INDEX refused_events_by_age ON refused_events (refused_at);

CREATE TABLE reviews (
    review_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    channel text NOT NULL,
    source text NOT NULL,
    rule text NOT NULL,
    decision_ids uuid[] NOT NULL,
    sealed_reply bytea,
    received_at bigint NOT NULL,
    resolution text,
    resolved_at bigint,
    resolved_by text,
    restored uuid[],
    CONSTRAINT reviews_resolution CHECK (resolution IN ('withdrawal', 'not_a_withdrawal')),
    CONSTRAINT reviews_resolved CHECK ((resolution IS NULL) = (resolved_at IS NULL))
);
CREATE INDEX reviews_open ON reviews (tenant, review_id) WHERE resolved_at IS NULL;

CREATE TABLE rights_requests (
    request_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    kind text NOT NULL,
    person_keys text[] NOT NULL,
    sealed_person bytea,
    identity text NOT NULL,
    identity_note text,
    opened_at bigint NOT NULL,
    opened_by text NOT NULL,
    due_at bigint NOT NULL,
    extended_at bigint,
    extension_reason text,
    state text NOT NULL,
    resolved_at bigint,
    resolved_by text,
    reason text,
    certificate jsonb,
    erasure_id uuid,
    CONSTRAINT rights_requests_kind
        CHECK (kind IN ('access', 'portability', 'rectification', 'erasure', 'objection')),
    CONSTRAINT rights_requests_identity CHECK (identity IN ('link', 'code', 'operator')),
    CONSTRAINT rights_requests_state CHECK (state IN ('open', 'done', 'refused')),
    CONSTRAINT rights_requests_resolved CHECK ((state = 'open') = (resolved_at IS NULL)),
    CONSTRAINT rights_requests_extended CHECK ((extended_at IS NULL) = (extension_reason IS NULL))
);
CREATE INDEX rights_requests_listed ON rights_requests (tenant, ((state <> 'open')::integer), due_at, request_id);
CREATE INDEX rights_requests_open ON rights_requests (kind) WHERE state = 'open';
CREATE INDEX rights_requests_of_person ON rights_requests USING gin (person_keys);
CREATE INDEX rights_requests_of_erasure ON rights_requests (erasure_id) WHERE erasure_id IS NOT NULL;

CREATE TABLE audit_entries (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    tenant text NOT NULL,
    who text NOT NULL,
    act text NOT NULL,
    object_id text
);
CREATE INDEX audit_entries_of_tenant ON audit_entries (tenant, entry_id);

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    digest text NOT NULL,
    tenant text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    may_lift boolean NOT NULL,
    created_at bigint NOT NULL,
    revoked_at bigint
);

CREATE TABLE console_sessions (
    digest text PRIMARY KEY,
    key_id text NOT NULL REFERENCES api_keys,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL
);
CREATE INDEX console_sessions_by_age ON console_sessions (started_at);

CREATE TABLE pauses (
    decision_id uuid NOT NULL REFERENCES decisions,
    tenant text NOT NULL,
    address_id bigint NOT NULL REFERENCES addresses,
    subject_ref text,
    channel text NOT NULL,
    purpose text NOT NULL,
    paused_at bigint NOT NULL,
    ends_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    evidence jsonb NOT NULL,
    PRIMARY KEY (decision_id, address_id)
);
CREATE INDEX pauses_by_end ON pauses (ends_at);
CREATE INDEX pauses_of_address ON pauses (address_id);

CREATE TABLE erasures (
    erasure_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    requested_by text NOT NULL,
    requested_at bigint NOT NULL,
    notify_until bigint NOT NULL,
    subject_id bigint,
    erased_at bigint,
    ended_at bigint,
    next_turn_at bigint NOT NULL DEFAULT 0,
    certificate jsonb
);
CREATE INDEX erasures_in_progress ON erasures (next_turn_at) WHERE ended_at IS NULL;

CREATE TABLE erasure_addresses (
    erasure_id uuid NOT NULL REFERENCES erasures,
    address_id bigint NOT NULL,
    forget boolean NOT NULL,
    objection uuid,
    erased_at bigint,
    outcome jsonb,
    PRIMARY KEY (erasure_id, address_id)
);
CREATE INDEX erasure_addresses_of_address ON erasure_addresses (address_id);

CREATE TABLE erased_persons (
    tenant text NOT NULL,
    person_key text NOT NULL,
    erasure_id uuid NOT NULL REFERENCES erasures,
    erased_at bigint,
    PRIMARY KEY (tenant, person_key)
);
CREATE INDEX erased_persons_of_erasure ON erased_persons (erasure_id);

CREATE TABLE retained_proofs (
    proof_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    erasure_id uuid NOT NULL REFERENCES erasures,
    tenant text NOT NULL,
    channel text NOT NULL,
    address_key text NOT NULL,
    purpose text NOT NULL,
    effective_at bigint NOT NULL,
    recorded_at bigint NOT NULL,
    expires_at bigint,
    notice jsonb NOT NULL,
    ground text NOT NULL,
    keep_until bigint NOT NULL
);
CREATE INDEX retained_proofs_of_address ON retained_proofs (tenant, channel, address_key);
CREATE INDEX retained_proofs_by_end ON retained_proofs (keep_until);

CREATE TABLE legal_holds (
    hold_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    person_keys text[] NOT NULL,
    reason text NOT NULL,
    set_at bigint NOT NULL,
    set_by text NOT NULL,
    until bigint,
    released_at bigint,
    released_by text
);
CREATE INDEX legal_holds_of_person ON legal_holds USING gin (person_keys);

CREATE TABLE notices (
    tenant text NOT NULL,
    notice_id text NOT NULL,
    version text NOT NULL,
    language text NOT NULL,
    sha256 text NOT NULL,
    title text NOT NULL,
    text text NOT NULL,
    valid_from bigint,
    screenshot jsonb,
    registered_at bigint NOT NULL,
    PRIMARY KEY (tenant, notice_id, version, language)
);

CREATE TABLE renewals (
    decision_id uuid PRIMARY KEY REFERENCES decisions,
    due boolean NOT NULL,
    address_id bigint REFERENCES addresses,
    address_key text,
    asked_at bigint NOT NULL,
    published_at bigint,
    CONSTRAINT renewals_of_an_address CHECK (NOT due OR (address_id IS NOT NULL AND address_key IS NOT NULL))
);
CREATE INDEX renewals_of_address ON renewals (address_id);
CREATE INDEX renewals_unpublished ON renewals (decision_id) WHERE due AND published_at IS NULL;

CREATE TABLE address_codes (
    tenant text NOT NULL,
    channel text NOT NULL,
    address_key text NOT NULL,
    sealed_code bytea NOT NULL,
    made_at bigint NOT NULL,
    tries integer NOT NULL,
    asked integer NOT NULL,
    asked_since bigint NOT NULL,
    PRIMARY KEY (tenant, channel, address_key)
);

CREATE TABLE allow_once_uses (
    address_id bigint PRIMARY KEY REFERENCES addresses,
    decision_id uuid NOT NULL REFERENCES decisions,
    used_at bigint NOT NULL
);

CREATE TABLE deliverability (
    address_id bigint PRIMARY KEY REFERENCES addresses,
    bounced_at bigint,
    delivered_at bigint
);
CREATE INDEX deliverability_expiring ON deliverability (delivered_at) WHERE bounced_at IS NULL;

CREATE TABLE key_exports (
    host text NOT NULL,
    path text NOT NULL,
    scope text NOT NULL,
    exported_at bigint NOT NULL,
    PRIMARY KEY (host, path)
);

CREATE TABLE receipts (
    receipt_id text PRIMARY KEY,
    tenant text NOT NULL,
    destination text NOT NULL,
    channel text NOT NULL,
    address_key text NOT NULL,
    target text,
    action text NOT NULL,
    stage text NOT NULL,
    version bigint NOT NULL,
    recorded_at bigint NOT NULL,
    queued_at bigint NOT NULL,
    reached_at bigint NOT NULL,
    attempts integer NOT NULL,
    provider_reference text,
    detail text
);

-- No foreign key to decisions: receipts are evidence of their own, and survive a ledger restored from a backup.
CREATE TABLE receipt_decisions (
    decision_id uuid NOT NULL,
    receipt_id text NOT NULL REFERENCES receipts,
    PRIMARY KEY (decision_id, receipt_id)
);
"""

ERASURE = """
-- Gives the address another number, and removes what concerns the person: all of it (forget), or what of_subject
-- decided and is linked to. The refusals that stay in force are recorded under the new number by the caller. A
-- transaction that records something under the old number meanwhile fails at a foreign key, and is run again.
CREATE FUNCTION erase_address(erased_id bigint, new_id bigint, of_subject bigint, forget boolean, moment bigint)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    gone uuid[];
    orphans uuid[];
BEGIN
    IF NOT EXISTS (SELECT FROM erasure_addresses WHERE address_id = erased_id AND erased_at IS NULL) THEN
        RAISE EXCEPTION 'no erasure of this address is in progress';
    END IF;
    PERFORM FROM addresses WHERE address_id = erased_id FOR UPDATE;
    SELECT array_agg(d.decision_id) INTO gone FROM decision_addresses r JOIN decisions d USING (decision_id)
    WHERE r.address_id = erased_id AND (forget OR d.subject_id = of_subject OR d.purpose = '@delivery');
    DELETE FROM decision_addresses WHERE address_id = erased_id AND decision_id = ANY (gone);
    -- A refusal of another person that reaches later addresses stays theirs.
    SELECT array_agg(d.decision_id) INTO orphans FROM decisions d
    WHERE d.decision_id = ANY (gone) AND (NOT d.spreads OR d.subject_id = of_subject)
      AND NOT EXISTS (SELECT FROM decision_addresses r WHERE r.decision_id = d.decision_id);
    DELETE FROM pauses
    WHERE decision_id = ANY (orphans) OR (address_id = erased_id AND (forget OR decision_id = ANY (gone)));
    DELETE FROM renewals
    WHERE decision_id = ANY (orphans) OR (address_id = erased_id AND (forget OR decision_id = ANY (gone)));
    UPDATE reviews SET sealed_reply = NULL, resolution = 'withdrawal', resolved_at = moment, resolved_by = 'erasure'
    WHERE resolved_at IS NULL AND decision_ids && gone;
    DELETE FROM live_repeats WHERE decision_id = ANY (orphans);
    DELETE FROM allow_once_uses WHERE address_id = erased_id;
    DELETE FROM deliverability WHERE address_id = erased_id;
    IF forget THEN
        DELETE FROM address_codes c USING address_keys k
        WHERE k.address_id = erased_id AND (c.tenant, c.channel, c.address_key) = (k.tenant, k.channel, k.address_key);
    END IF;
    DELETE FROM decisions WHERE decision_id = ANY (orphans);
    UPDATE decisions d
    SET address_id = (SELECT min(r.address_id) FROM decision_addresses r WHERE r.decision_id = d.decision_id)
    WHERE d.decision_id = ANY (gone) AND d.address_id = erased_id;
    UPDATE decisions d SET address_id = new_id FROM decision_addresses r
    WHERE r.address_id = erased_id AND d.decision_id = r.decision_id AND d.address_id = erased_id;
    UPDATE decision_addresses SET address_id = new_id WHERE address_id = erased_id;
    UPDATE pauses SET address_id = new_id WHERE address_id = erased_id;
    UPDATE renewals SET address_id = new_id WHERE address_id = erased_id;
    DELETE FROM subject_addresses WHERE address_id = erased_id AND (forget OR subject_id = of_subject);
    UPDATE subject_addresses SET address_id = new_id WHERE address_id = erased_id;
    UPDATE address_keys
    SET address_id = new_id, sealed_address = CASE WHEN NOT forget THEN sealed_address END
    WHERE address_id = erased_id;
    UPDATE erasure_addresses SET address_id = new_id WHERE address_id = erased_id;
    DELETE FROM addresses WHERE address_id = erased_id;
END $$;

-- Removes what is left of a subject, none of whose addresses is to be erased any more.
CREATE FUNCTION erase_subject(erased_id bigint, moment bigint)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    gone uuid[];
BEGIN
    IF NOT EXISTS (
        SELECT FROM erasures e WHERE e.subject_id = erased_id AND e.erased_at IS NULL AND NOT EXISTS (
            SELECT FROM erasure_addresses a WHERE a.erasure_id = e.erasure_id AND a.erased_at IS NULL)
    ) THEN
        RAISE EXCEPTION 'no erasure of this subject is in progress, or of its addresses one is';
    END IF;
    SELECT array_agg(decision_id) INTO gone FROM decisions WHERE subject_id = erased_id;
    DELETE FROM pauses WHERE decision_id = ANY (gone);
    DELETE FROM renewals WHERE decision_id = ANY (gone);
    UPDATE reviews SET sealed_reply = NULL, resolution = 'withdrawal', resolved_at = moment, resolved_by = 'erasure'
    WHERE resolved_at IS NULL AND decision_ids && gone;
    DELETE FROM live_repeats WHERE decision_id = ANY (gone);
    DELETE FROM allow_once_uses WHERE decision_id = ANY (gone);
    DELETE FROM decision_addresses WHERE decision_id = ANY (gone);
    DELETE FROM decisions WHERE decision_id = ANY (gone);
    DELETE FROM subject_addresses WHERE subject_id = erased_id;
    DELETE FROM subjects WHERE subject_id = erased_id;
END $$;

-- A person who has been erased gives a new permission: the tools need the address again.
CREATE FUNCTION seal_address_again(of_address bigint, keys text[], sealed bytea[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE address_keys k SET sealed_address = new.sealed_address
    FROM unnest(keys, sealed) AS new (address_key, sealed_address)
    WHERE k.address_id = of_address AND k.address_key = new.address_key AND k.sealed_address IS NULL
$$;

REVOKE ALL ON FUNCTION erase_address, erase_subject, seal_address_again FROM PUBLIC;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(ERASURE)


def downgrade() -> None:
    # What has been recorded is proof: no command of ours may drop a table or a column of it.
    raise NotImplementedError("migrations only go forward: restore a backup instead")
