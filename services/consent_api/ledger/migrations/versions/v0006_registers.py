"""Registers of oppositions: their loads, and what each load listed."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE register_loads (
    tenant text NOT NULL,
    register text NOT NULL,
    channels text[] NOT NULL,
    purposes text[] NOT NULL,
    region text NOT NULL,
    as_of bigint NOT NULL,
    loaded_at bigint NOT NULL,
    loaded_by text NOT NULL,
    sha256 text NOT NULL,
    addresses bigint NOT NULL,
    recorded bigint NOT NULL,
    invalid bigint NOT NULL,
    PRIMARY KEY (tenant, register, loaded_at)
);

CREATE TABLE register_entries (
    tenant text NOT NULL,
    register text NOT NULL,
    address_id bigint NOT NULL,
    purpose text NOT NULL,
    as_of bigint NOT NULL,
    PRIMARY KEY (tenant, register, address_id, purpose)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    # What has been recorded is proof: no command of ours may drop a table or a column of it.
    raise NotImplementedError("migrations only go forward: restore a backup instead")
