"""A column, and a rule that holds for new rows from now on."""

from __future__ import annotations

from alembic import op

from consent_api.ledger.schema_version import REQUIRED_SCHEMA_VERSION

revision = "x0001"
down_revision = REQUIRED_SCHEMA_VERSION


def upgrade() -> None:
    op.execute("ALTER TABLE decisions ADD COLUMN example bigint")
    op.execute("ALTER TABLE decisions ADD CONSTRAINT decisions_example CHECK (effective_at > 0) NOT VALID")
