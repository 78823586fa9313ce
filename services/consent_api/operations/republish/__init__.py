"""Kafka rebuilt from the ledger: every decision that ever reached an address, published again."""
