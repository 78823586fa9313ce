"""What can go wrong at the door.

DoorError
├── Refused            a submission breaks a rule: the caller is told each field and its cure; a dead letter in Kafka
├── LedgerUnavailable  the database does not answer or cannot take more: transient, nothing was acknowledged
│   ├── LedgerContended  it answers: other transactions hold what this one needs
│   └── TransactionTooLongError  it answers: the transaction reached the time limit of its lane
└── Misconfigured      the installation itself is wrong: said at start, exit code 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing wrong with a submission: where (a JSON pointer), what, and what to do about it. No values, ever."""

    pointer: str
    code: str
    cure: str


class DoorError(Exception):
    """Base of this service. No message ever holds an address."""


class Refused(DoorError):
    """Carries every fault found, so that the caller can mend them all at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.cure}" for fault in faults))
        self.faults = tuple(faults)


class LedgerUnavailable(DoorError):
    """Try again later; ``retry_after`` is a hint in seconds."""

    def __init__(self, why: str, *, retry_after: int = 1) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class LedgerContended(LedgerUnavailable):
    """Other transactions were in the way for too long."""


class TransactionTooLongError(LedgerUnavailable):
    """A transaction that writes the live outbox has a second, one that writes the bulk outbox a minute."""


class Misconfigured(DoorError):
    """The message names the setting and the cure."""
