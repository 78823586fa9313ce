"""The command of the status page."""
