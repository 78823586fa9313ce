"""Kafka: clients, topics, dead letters, resolved timestamps, and the crash-safe transport of streams."""
