"""What can go wrong in this service.

ConsentApiError
├── SubmissionInvalidError  a submission breaks a rule: the answer names each field and its cure; a dead letter in Kafka
├── LedgerUnavailableError  the database does not answer or cannot take more: transient, nothing was acknowledged
│   ├── LedgerContendedError  it answers: other transactions hold what this one needs
│   └── TransactionTooLongError  it answers: the transaction reached the time limit of its lane
├── DeadLettersNotWrittenError  not every dead letter was acknowledged: the batch has to be tried again
├── KafkaUnavailableError  Kafka did not answer a command in time
├── NotReplayedError  Kafka did not take a batch of a replay: none of its records went back, no letter is marked
└── MisconfiguredError  the installation itself is wrong: reported at start, exit code 2

The relay has its own: outbox_relay/errors.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """One thing wrong with a submission: where (a JSON pointer), what, and what to do about it. No values, ever."""

    pointer: str
    code: str
    cure: str


class ConsentApiError(Exception):
    """Base of this service. No message ever holds an address."""


class SubmissionInvalidError(ConsentApiError):
    """Carries every fault found, so that the caller can mend them all at once."""

    def __init__(self, faults: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.cure}" for fault in faults))
        self.faults = tuple(faults)


class LedgerUnavailableError(ConsentApiError):
    """Try again later; ``retry_after`` is a hint in seconds."""

    def __init__(self, why: str, *, retry_after: int = 1) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class LedgerContendedError(LedgerUnavailableError):
    """Other transactions were in the way for too long."""


class TransactionTooLongError(LedgerUnavailableError):
    """A transaction that writes the live outbox has a second, one that writes the bulk outbox a minute."""


class DeadLettersNotWrittenError(ConsentApiError):
    """The text is librdkafka's name of the cause."""


class ResultsNotWrittenError(ConsentApiError):
    """The text is librdkafka's name of the cause."""


class KafkaUnavailableError(ConsentApiError):
    """The message has what Kafka answered, if it did."""


class NotReplayedError(ConsentApiError):
    """The text is librdkafka's."""


class MisconfiguredError(ConsentApiError):
    """The message names the setting and the cure."""
