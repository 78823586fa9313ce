"""Consumer lag, read from the broker, so that it survives a hung consumer."""
