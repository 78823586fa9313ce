"""A process: its settings, start, logs, health and clocks, and the one command line."""
