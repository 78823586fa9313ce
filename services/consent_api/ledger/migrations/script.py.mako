"""${message}."""

from __future__ import annotations

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else 'op.execute("")'}


def downgrade() -> None:
    # What has been recorded is proof: no command of ours may drop a table or a column of it.
    raise NotImplementedError("migrations only go forward: restore a backup instead")
