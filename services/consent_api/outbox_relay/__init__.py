"""Kafka out: what the ledger has recorded, from the outbox to the broker."""
