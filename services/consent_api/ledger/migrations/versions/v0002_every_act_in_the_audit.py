"""Administrative acts go into the audit beside those about a person's rights: some are no one tenant's."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE audit_entries ALTER COLUMN tenant DROP NOT NULL")


def downgrade() -> None:
    raise NotImplementedError("migrations only go forward: restore a backup instead")
