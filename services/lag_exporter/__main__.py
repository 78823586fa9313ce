"""The command of the lag exporter, as an entry point."""

from lag_exporter.cli.lag import lag

__all__ = ["lag"]
