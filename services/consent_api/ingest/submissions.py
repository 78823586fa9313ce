"""What upstream systems submit by Kafka (R16): a batch of records, decided one by one, recorded in one transaction.

What comes by the live topic is live, what comes by the bulk topic is bulk.
"""

import logging
from collections.abc import Collection, Sequence

from consent_api.errors import (
    FieldError,
    LedgerContendedError,
    SubmissionInvalidError,
    TransactionTooLongError,
)
from consent_api.ledger.deduplication import Recorded
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.recording import Outcome
from consent_api.validate import Accepted, Rules, validate
from consent_contracts.codec import Codec
from consent_contracts.errors import Unreadable

from .dead_letter_writer import DeadLetterWriter, Rejected
from .metrics import IngestMetrics
from .record import Consumed

log = logging.getLogger(__name__)

_SINGLE_LOCK_MS = 10
"""How long one submission by itself waits for a lock before it is left for later. Short, as many may have to wait."""
_ALL_HELD = 20
"""Where so many persons have to wait and nothing at all was recorded, a table is held: the others are not tried now."""

_Person = tuple[str, ...]


class Submissions:
    """Raises LedgerUnavailableError, RegistryUnavailable or DeadLettersNotWrittenError: try the batch again.

    Trying again is harmless: the ledger recognises an event by its id, the dead letters a record by its place.
    """

    def __init__(
        self,
        *,
        lane: Lane,
        codec: Codec,
        ledger: Ledger,
        rules: Rules,
        tenants: Collection[str],
        default_tenant: str | None,
        dead_letters: DeadLetterWriter,
        metrics: IngestMetrics,
        most: int = 10_000,
    ) -> None:
        """`most`: decisions in one transaction at first."""
        self._waiting: set[_Person] = set()
        self._lane = lane
        self._most = most
        self._codec = codec
        self._ledger = ledger
        self._rules = rules
        self._tenants = tenants
        self._default_tenant = default_tenant
        self._dead_letters = dead_letters
        self._metrics = metrics

    def handle(self, records: Sequence[Consumed]) -> Sequence[Consumed]:
        """When this returns, each record is committed in the ledger or acknowledged as a dead letter, but for those
        returned: another transaction holds the person that they concern."""
        now = self._ledger.clock()
        readable: list[Consumed] = []
        accepted: list[Accepted] = []
        rejected: list[Rejected] = []
        for record in records:
            try:
                accepted.append(self._read(record, now))
                readable.append(record)
            except Unreadable as error:
                rejected.append(Rejected(record=record, reason=error.reason, error=str(error)))
            except SubmissionInvalidError as error:
                rejected.append(invalid(record, error))
        outcomes = self._record(accepted)
        repeated = 0
        left: list[Consumed] = []
        for record, outcome in zip(readable, outcomes, strict=True):
            if outcome is None:
                left.append(record)
            elif isinstance(outcome, SubmissionInvalidError):
                rejected.append(invalid(record, outcome))
            else:
                repeated += outcome.repeated
        if rejected:
            self._dead_letters.write(rejected)
        done = len(records) - len(left)
        self._metrics.count(records[0].topic, total=done, repeated=repeated, dead_letters=len(rejected))
        return left

    def _record(self, accepted: Sequence[Accepted]) -> list[Outcome | None]:
        """In as few transactions as fit; None for those that have to wait. Submissions for one person keep their order.

        What has fitted is remembered, as an attempt that does not fit costs seconds; so is who had to wait, as they
        would make all others wait again.
        """
        outcomes: list[Outcome | None] = [None] * len(accepted)
        waited, self._waiting = self._waiting, set()
        apart = [at for at, each in enumerate(accepted) if _person(each) in waited]
        rest = [at for at, each in enumerate(accepted) if _person(each) not in waited]
        while rest:
            window = rest[: self._most]
            part = [at for at in window if _person(accepted[at]) not in self._waiting]
            try:
                recorded = self._ledger.attempt([accepted[at] for at in part], lane=self._lane)
            except TransactionTooLongError:
                if len(part) > 1:
                    self._most = len(part) // 2
                    continue
                self._record_singly(accepted, part, outcomes)
            except LedgerContendedError:
                self._record_singly(accepted, part, outcomes)
            else:
                for at, outcome in zip(part, recorded, strict=True):
                    outcomes[at] = outcome
                self._most += 1
            rest = rest[len(window) :]
        self._record_singly(accepted, apart, outcomes)
        return outcomes

    def _record_singly(
        self, accepted: Sequence[Accepted], positions: Sequence[int], outcomes: list[Outcome | None]
    ) -> None:
        for at in positions:
            each = accepted[at]
            if _person(each) in self._waiting:
                continue
            try:
                [outcomes[at]] = self._record_one(each)
            except LedgerContendedError:
                self._waiting.add(_person(each))
                if len(self._waiting) >= _ALL_HELD and not any(outcomes):
                    self._waiting |= {_person(accepted[other]) for other in positions}
                    return

    def _record_one(self, each: Accepted) -> list[Outcome]:
        """Where it does not fit into the live lane's time it goes by the bulk lane, with its own mark: it takes effect
        later, but is not tried for ever."""
        try:
            return self._ledger.attempt([each], lane=self._lane, lock_ms=_SINGLE_LOCK_MS)
        except TransactionTooLongError:
            if self._lane is Lane.BULK:
                raise
            [outcome] = self._ledger.attempt([each], lane=Lane.BULK)
            self._metrics.by_bulk.inc()
            decision_id = outcome.decision_id if isinstance(outcome, Recorded) else None
            log.warning("a live submission was recorded by the bulk lane", extra={"decision_id": decision_id})
            return [outcome]

    def _read(self, record: Consumed, now: int) -> Accepted:
        datum = self._codec.decode(record.topic, record.value)
        named = datum.pop("tenant")
        tenant: str | None = named if named is not None else self._default_tenant
        if tenant is None:
            raise SubmissionInvalidError([_MISSING_TENANT])
        if tenant not in self._tenants:
            raise SubmissionInvalidError([_UNKNOWN_TENANT])
        if not datum["event_id"]:
            raise SubmissionInvalidError([_EMPTY_EVENT_ID])
        return validate(datum, tenant=tenant, rules=self._rules, now=now, bulk=self._lane is Lane.BULK)


def _person(each: Accepted) -> _Person:
    """Whom a submission concerns: the subject, whom a transaction that decides for them locks, or else the address."""
    if each.subject_ref is not None:
        return each.tenant, each.subject_ref
    return each.tenant, each.channel, each.address or ""


def invalid(record: Consumed, refused: SubmissionInvalidError) -> Rejected:
    """A readable record that breaks rules: every one of them is named, with its cure."""
    return Rejected(record=record, reason="invalid", error=str(refused))


_EMPTY_EVENT_ID = FieldError(pointer="/event_id", code="empty", cure="send an id that is unique to the event")
_MISSING_TENANT = FieldError(
    pointer="/tenant",
    code="missing",
    cure="name the tenant: this installation has several and no CONSENT_RELAY_INGEST_TENANT",
)
_UNKNOWN_TENANT = FieldError(
    pointer="/tenant", code="unknown_tenant", cure="send a tenant that the keyring has hash keys for"
)
