"""Which migration this release needs. Apart from the migrations, so that a process starts without Alembic."""

REQUIRED_SCHEMA_VERSION = "0006"
"""The newest in `migrations/versions`; they are numbered in their order."""
