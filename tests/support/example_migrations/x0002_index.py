"""An index."""

from __future__ import annotations

from consent_api.ledger.migrations import online

revision = "x0002"
down_revision = "x0001"


def upgrade() -> None:
    online.create_index("decisions_by_example", "decisions (tenant, recorded_at)")
