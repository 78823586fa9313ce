"""What can go wrong in this service.

ConsentApiError
├── SubmissionInvalidError      a submission breaks a rule: each field and its cure in the answer, or a dead letter
├── NumberWithheldError         a call has no number: whom a spoken withdrawal concerns is unknown
├── InvalidValueError           one value of it breaks a rule; becomes a fault of the submission; a ValueError too
├── RequestInFlightError        a request with the same Idempotency-Key is being carried out
├── KeyReusedError              the Idempotency-Key was used for another request
├── WebhookRefusedError         a tool's webhook is not genuine, or is none: counted, never recorded
├── ReviewError                 a review cannot be resolved so
│   ├── ReviewUnknownError      there is none with this id
│   ├── ReviewResolvedError     it was resolved otherwise
│   └── ReviewTooEarlyError     its reply is only seconds old
├── RightsError                 what concerns the requests of persons
│   ├── RequestUnknownError     there is none with this id
│   ├── RequestResolvedError    it is resolved, and not so
│   ├── RequestExtensionError   it was extended before, or its month is over
│   ├── PersonUnknownError      nothing is known of the person, or there is no erasure with this id
│   ├── ErasureHeldError        a legal hold is in force: its reason, and until when
│   ├── ErasureBegunError       a legal hold comes too late: since when the person is being erased
│   └── HoldUnknownError        there is none in force with this id
├── WebhookNotRecordedError     a webhook was not recorded: its sender is asked to send it again
├── NotFetchedError             a page of SNS could not be fetched: transient
├── LedgerUnavailableError      the database does not answer or cannot take more: transient, nothing was acknowledged
│   ├── LedgerContendedError    it answers: other transactions hold what this one needs
│   └── TransactionTooLongError  it answers: the transaction reached the time limit of its lane
├── KafkaUnavailableError       Kafka did not answer a command in time
├── ConsumerFencedError         a consumer of the inbound topics will give nothing more: it is replaced
├── DeadLettersNotWrittenError  not every dead letter was acknowledged: the batch has to be tried again
├── ResultsNotWrittenError      not every result was acknowledged: the batch has to be tried again
├── RelayError                  what ends or interrupts a relay
│   ├── PublishFailedError      some of a batch was not acknowledged, and not because of its records: tried again
│   │   └── TopicChangedError   the bulk topic was created again or went back during a repair: the repair starts over
│   └── PartitionsChangedError  the number of partitions differs from the one that the ledger has recorded: exit code 1
├── OperationError              what ends or interrupts what an operator has started
│   ├── NotReplayedError        Kafka did not take a batch of a replay: none of its letters is marked
│   ├── NotPublishedError       Kafka did not take a page of a republish: it can go on from there
│   ├── CheckpointMismatchError  a checkpoint belongs to an unfinished republish of something else
│   ├── MergedUnknownError      what the merge has stated cannot be read now
│   ├── ListUnreadableError     a list topic cannot be read to its end now
│   ├── RegisterNotLoadedError  a file is not loaded as a register, or not to its end
│   ├── MigrationBlockedError   a migration did not get its lock: what was migrated before it stays
│   └── ScrubInterruptedError   the relay that compares list and ledger stops, or another one has taken over
├── LinkError                   what concerns links that people are sent
│   ├── InvalidTokenError       no link of ours, in whichever way
│   ├── NoLinkKeysError         the tenant has no link keys
│   ├── ChoiceRefusedError      a rule of this installation refuses what a link asks for, or a part of it
│   └── AddressFileError        a file of addresses cannot be read
├── NoticeChangedError          another text is registered as this version of a notice
├── ChosenVersionsError         not the versions of a notice that permissions can rest on
└── MisconfiguredError          the installation itself is wrong: reported at start, exit code 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from consent_contracts.cloudevents import rfc3339


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldViolation:
    """One thing wrong with a submission: where (a JSON pointer), what, and what to do about it. No values, ever."""

    pointer: str
    code: str
    cure: str


class ConsentApiError(Exception):
    """Base of this service. No message ever holds an address."""


class SubmissionInvalidError(ConsentApiError):
    """Carries every fault found, so that the caller can mend them all at once."""

    def __init__(self, faults: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.cure}" for fault in faults))
        self.faults = tuple(faults)


class NumberWithheldError(ConsentApiError):
    """What was sent as a number says that there is none."""

    def __init__(self) -> None:
        super().__init__("the number is withheld")


class RefusedWebhook(StrEnum):
    """Why a tool's webhook is refused."""

    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    OUTSIDE_WINDOW = "outside_window"
    REPLAYED = "replayed"
    """What was signed for one body came with another."""
    UNREADABLE = "unreadable"


class WebhookRefusedError(ConsentApiError):
    """``field`` is the header or member that is wrong, ``cure`` what to do about it. No values."""

    def __init__(self, reason: RefusedWebhook, *, field: str, cure: str) -> None:
        super().__init__(f"{field}: {reason.value}")
        self.reason = reason
        self.field = field
        self.cure = cure


class ReviewError(ConsentApiError):
    """The text says why a review cannot be resolved so."""


class ReviewUnknownError(ReviewError):
    def __init__(self) -> None:
        super().__init__("no such review")


class ReviewResolvedError(ReviewError):
    def __init__(self) -> None:
        super().__init__("this review was resolved otherwise")


class ReviewTooEarlyError(ReviewError):
    """A permission counts as a little older than it is given: it would not lift a pause as new as this one."""

    def __init__(self) -> None:
        super().__init__("the reply is only seconds old: try again in a few")


class RightsError(ConsentApiError):
    """The text says why it cannot be done."""


class RequestUnknownError(RightsError):
    def __init__(self) -> None:
        super().__init__("no such request")


class RequestResolvedError(RightsError):
    def __init__(self) -> None:
        super().__init__("this request was resolved before")


class RequestExtensionError(RightsError):
    def __init__(self) -> None:
        super().__init__("a request is extended once, and within its first month")


class PersonUnknownError(RightsError):
    def __init__(self) -> None:
        super().__init__("nothing is known of this person")


class ErasureHeldError(RightsError):
    """``until`` in micros; None: until it is released."""

    def __init__(self, *, reason: str, until: int | None) -> None:
        super().__init__(f"a legal hold is in force: {reason}")
        self.reason = reason
        self.until = until


class ErasureBegunError(RightsError):
    """``begun_at`` in micros."""

    def __init__(self, begun_at: int) -> None:
        super().__init__(f"an erasure of this person began on {rfc3339(begun_at)}: it cannot be held any more")
        self.begun_at = begun_at


class HoldUnknownError(RightsError):
    def __init__(self) -> None:
        super().__init__("no such hold is in force")


class WebhookNotRecordedError(ConsentApiError):
    def __init__(self) -> None:
        super().__init__("a webhook was not recorded")


class NotFetchedError(ConsentApiError):
    """The host did not answer, or not with 200."""

    def __init__(self) -> None:
        super().__init__("a page of SNS could not be fetched")


class LedgerUnavailableError(ConsentApiError):
    """Try again later; ``retry_after`` is a hint in seconds."""

    def __init__(self, why: str, *, retry_after: int = 1) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class LedgerContendedError(LedgerUnavailableError):
    """Other transactions were in the way for too long."""


class TransactionTooLongError(LedgerUnavailableError):
    """A transaction that writes the live outbox has a second, one that writes the bulk outbox a minute."""


class InvalidValueError(ConsentApiError, ValueError):
    """A value breaks a rule: ``code`` names it, ``cure`` is what to send instead. Neither holds the value."""

    def __init__(self, code: str, cure: str) -> None:
        super().__init__(f"{code}: {cure}")
        self.code = code
        self.cure = cure


class RequestInFlightError(ConsentApiError):
    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is being carried out")


class KeyReusedError(ConsentApiError):
    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another request")


class ConsumerFencedError(ConsentApiError):
    """The text is librdkafka's."""


class DeadLettersNotWrittenError(ConsentApiError):
    """The text is librdkafka's name of the cause."""


class ResultsNotWrittenError(ConsentApiError):
    """The text is librdkafka's name of the cause."""


class KafkaUnavailableError(ConsentApiError):
    """The message has what Kafka answered, if it did."""


class RelayError(ConsentApiError):
    """Base of the relay's errors."""


class PublishFailedError(RelayError):
    """The text is librdkafka's name of the cause."""


class TopicChangedError(PublishFailedError):
    """What the repair has published so far may be lost."""


class PartitionsChangedError(RelayError):
    """The partition of an address is part of the contract, so the number of partitions never changes."""

    def __init__(self, *, lane: str, recorded: int, configured: int) -> None:
        super().__init__(
            f"the {lane} lane was published to {recorded} partitions, CONSENT_RELAY_PARTITIONS is {configured};"
            f" set CONSENT_RELAY_PARTITIONS={recorded}"
        )


class OperationError(ConsentApiError):
    """Base of what ends an operator's command, or a comparison in the background."""


class NotReplayedError(OperationError):
    """The text is librdkafka's."""


class NotPublishedError(OperationError):
    """The broker did not acknowledge a page. What came before it is published; the run can go on from there."""


class CheckpointMismatchError(OperationError):
    """The file belongs to an unfinished run with another selection, other hash keys or other topics."""


class MergedUnknownError(OperationError):
    """The text names what cannot be read."""


class ListUnreadableError(OperationError):
    """The text names the topic."""


class RegisterNotLoadedError(OperationError):
    """The text has the cure. What was recorded stays."""


class MigrationBlockedError(OperationError):
    """`by` names the sessions that held the lock."""

    def __init__(self, by: str) -> None:
        super().__init__(
            f"a table stays locked by {by}. Wait until that transaction has ended, or end its session"
            " (pg_terminate_backend), then run migrate again: it goes on from here."
        )


class ScrubInterruptedError(OperationError):
    """What was compared so far is recorded."""


class LinkError(ConsentApiError):
    """What concerns links that people are sent."""


class InvalidTokenError(LinkError):
    """No token of ours, in whichever way: the text never differs."""

    def __init__(self) -> None:
        super().__init__("this is no link of ours")


class NoLinkKeysError(LinkError):
    """The tenant has no link keys: `consent-relay keyring rotate FILE --tenant TENANT --links`."""


class ChoiceRefusedError(LinkError):
    """A rule of this installation refuses what a link asks for. ``recorded``: whether another part of the choice is
    recorded all the same, as a refusal never waits for a permission."""

    def __init__(self, message: str, *, recorded: bool = False) -> None:
        super().__init__(message)
        self.recorded = recorded


class ChosenVersionsError(ConsentApiError):
    """Permissions cannot rest on these versions of a notice from now on: which one, and why."""


class NoticeChangedError(ConsentApiError):
    """A version of a notice never changes."""

    def __init__(self, notice_id: str, version: str, language: str) -> None:
        super().__init__(f"notice {notice_id}, version {version} ({language}), is registered with other content")


class AddressFileError(LinkError):
    """A file of addresses cannot be read. The text holds nothing of it."""


class MisconfiguredError(ConsentApiError):
    """The message names the setting and the cure."""
