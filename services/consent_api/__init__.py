"""The door: HTTP, ledger, outbox, relay and Kafka ingest; owns the database."""
