"""Versions of a notice on which no permission rests any more."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null: as every version was for the release before.
    op.execute("ALTER TABLE notices ADD COLUMN stale_at bigint, ADD COLUMN ended_older_at bigint")


def downgrade() -> None:
    # What has been recorded is proof: no command of ours may drop a table or a column of it.
    raise NotImplementedError("migrations only go forward: restore a backup instead")
