"""Which migration this release needs. Apart from the migrations, so that a process starts without Alembic."""

REQUIRED_SCHEMA_VERSION = "0005"
"""The newest in `migrations/versions`; they are numbered in their order."""
