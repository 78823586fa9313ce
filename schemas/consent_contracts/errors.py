"""What can be wrong with bytes that claim to follow our contracts.

ContractError
├── UnreadableError           the bytes cannot be decoded: dead letter, with ``reason``
├── InvalidRecordError        decoded, but it breaks a rule: dead letter, with ``field`` and ``cure``
├── NotRegisteredError        the registry does not know a schema of ours: run ``consent-relay topics apply``
├── SchemaRefusedError        a writer's schema cannot be read as ours; becomes an UnreadableError; a ValueError too
└── RegistryUnavailableError  the registry did not answer: transient, try again, never a dead letter
    └── RegistryRefusedError  it is there, and refuses us or we it: at the start that is a wrong setting
"""

from __future__ import annotations


class ContractError(Exception):
    """Base of this module. No message ever holds a value of the record: it could be an address."""


UNREADABLE_REASONS = (
    "empty",
    "not_framed",
    "too_large",
    "truncated",
    "unknown_schema",
    "wrong_schema",
    "undecodable",
)


class UnreadableError(ContractError):
    """``reason`` is one of UNREADABLE_REASONS."""

    def __init__(self, reason: str, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


class InvalidRecordError(ContractError):
    """The record is readable, but field ``field`` breaks a rule; ``cure`` is what to send instead."""

    reason = "invalid"

    def __init__(self, field: str, cure: str) -> None:
        super().__init__(f"{field}: {cure}")
        self.field = field
        self.cure = cure


class SchemaRefusedError(ContractError, ValueError):
    """The schema cannot be read as ours; the message has the reason."""


class NotRegisteredError(ContractError):
    """A schema that we write is not registered for ``subject``; the message has the cure."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject}: this schema is not registered; run: consent-relay topics apply")
        self.subject = subject


class RegistryUnavailableError(ContractError):
    """The schema registry did not answer and the schema is not known yet."""


class RegistryRefusedError(RegistryUnavailableError):
    """Credentials or a certificate are wrong. At the start that is a wrong setting. Later it may be corrected at the
    registry, so a record waits as if it did not answer."""

    def __init__(self, explanation: str, *, credentials: bool) -> None:
        """``credentials``: the registry refuses us; else its certificate, or ours, is refused."""
        super().__init__(explanation)
        self.credentials = credentials
