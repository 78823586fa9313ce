"""The gate: `POST /v1/check` says before a message is sent whether it may be. Fails closed."""
