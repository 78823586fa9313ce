"""The audit is listed by time, over all tenants."""

from __future__ import annotations

from consent_api.ledger.migrations import online

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.create_index("audit_entries_by_time", "audit_entries (at, entry_id)")


def downgrade() -> None:
    # What has been recorded is proof: no command of ours may drop a table or a column of it.
    raise NotImplementedError("migrations only go forward: restore a backup instead")
