"""Kafka in: what upstream systems submit, and the receipts of the propagator."""
