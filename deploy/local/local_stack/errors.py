"""What can go wrong on one machine.

LocalStackError
+-- DirectoryInUseError   another process runs a system in the directory
+-- DownloadFailedError   a package did not come, or differs from the lock file
+-- NotSettledError       the demo's changes did not arrive in time
+-- ProgramMissingError   a program or package that should be installed is not
+-- StartCancelledError   a signal asked to stop during the start
+-- StartFailedError      a process ended, or was not ready in time; holds the tail of its log
"""

from pathlib import Path


class LocalStackError(Exception):
    """Base of all errors of the local stack; its text is meant for the terminal."""


class DirectoryInUseError(LocalStackError):
    """Another process runs a system in the directory; the text names the cure."""


class DownloadFailedError(LocalStackError):
    """A locked package could not be fetched, or its SHA-256 differs from the lock file's."""


class NotSettledError(LocalStackError):
    """Something is still on its way when the demo stops waiting: that too is a difference."""


class ProgramMissingError(LocalStackError):
    """Something that has to be installed is not; the text names the cure."""


class StartCancelledError(LocalStackError):
    """The start was given up on request."""


class StartFailedError(LocalStackError):
    """A child ended, or did not become ready in time."""

    def __init__(self, *, name: str, why: str, log: Path, tail: str) -> None:
        super().__init__(f"{name} {why}\n--- the end of {log}\n{tail}\n---")
        self.name = name
        self.why = why
        self.log = log
        self.tail = tail
