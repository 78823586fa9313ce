"""Administrative acts go into the audit beside those about a person's rights: some are no one tenant's."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The release before reads the entries of one tenant, among which those of none never are.
    op.execute("-- squawk-ignore ban-drop-not-null\nALTER TABLE audit_entries ALTER COLUMN tenant DROP NOT NULL")


def downgrade() -> None:
    # What has been recorded is proof: no command of ours may drop a table or a column of it.
    raise NotImplementedError("migrations only go forward: restore a backup instead")
