"""The HTTP API, ledger, outbox, relay and Kafka ingest; owns the database."""
