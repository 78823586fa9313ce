"""What can go wrong when the status page asks other processes.

StatusPageError
├── ScrapeFailedError      a process gave no metrics; ``reason`` is one of REASONS
└── ExplainUnansweredError the API gave no explanation and no reason either
"""

from __future__ import annotations

REASONS = ("refused", "timed_out", "status", "too_large", "unreadable", "failed")


class StatusPageError(Exception):
    """Base of this service."""


class ScrapeFailedError(StatusPageError):
    """The message has the address, and nothing of what was answered."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ExplainUnansweredError(StatusPageError):
    """The API does not answer, or not as it is described."""
