"""Why a process cannot start, or go on.

ProcessError
├── StartupError              ends the process with code 2
│   ├── InvalidSettingsError  settings are missing or cannot be read
│   └── LinkRefusedError      a server refuses this process, or this process the server
└── RetryStoppedError         the process stops before repeated work has succeeded
"""

from __future__ import annotations

from collections.abc import Sequence


class ProcessError(Exception):
    """Base of this package."""


class StartupError(ProcessError):
    """Ends the process with code 2."""


class InvalidSettingsError(StartupError):
    """Settings that cannot be read. `problems` holds one line a variable, never a value; `missing`, the variables among
    them that are required and not set."""

    def __init__(self, problems: Sequence[str], *, missing: Sequence[str] = ()) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
        self.missing = tuple(missing)


class LinkRefusedError(StartupError):
    """A server is there and refuses this process, or this process refuses the server: waiting does not help. The
    message begins with the setting to correct."""


class RetryStoppedError(ProcessError):
    """The process stops, or gives the work up, before it succeeded."""
