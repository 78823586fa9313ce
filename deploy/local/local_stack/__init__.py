"""The whole system on one machine, from packages alone."""
