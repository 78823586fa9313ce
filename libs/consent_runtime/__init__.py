"""Plumbing that the services share: settings, logs, metrics, addresses, the transport."""
