"""What a migration does to a big table beside running services. docs/upgrade.md has the rules."""

from __future__ import annotations

from alembic import op


def create_index(name: str, on: str) -> None:
    """`on` is what follows ON: `decisions (recorded_at) WHERE bulk`. The only call of its migration.

    Repeatable: one that was interrupted leaves an invalid index, which the next try drops. It waits for every
    transaction that is older than itself, a backup's too, and blocks none meanwhile: so it may wait long.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '30min'")
        try:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")
        finally:
            op.execute("RESET lock_timeout")
