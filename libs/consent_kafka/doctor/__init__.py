"""What `consent-relay doctor` checks of Kafka and of the registry."""
