"""Alembic's entry: runs the migrations on the connection that `ledger.migrate` put into the configuration."""

from __future__ import annotations

from alembic import context

from consent_api.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    # A lock that one of them took is not held while the next one waits for its own.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
