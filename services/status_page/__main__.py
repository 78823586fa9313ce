"""The command of the status page, as an entry point."""

from status_page.cli.status import status

__all__ = ["status"]
