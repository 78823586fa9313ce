"""Alembic's migrations. Released ones are never edited; each runs beside the previous release (docs/upgrade.md)."""
