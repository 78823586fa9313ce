"""The rule, for all rows."""

from __future__ import annotations

from alembic import op

revision = "x0003"
down_revision = "x0002"


def upgrade() -> None:
    op.execute("ALTER TABLE decisions VALIDATE CONSTRAINT decisions_example")
