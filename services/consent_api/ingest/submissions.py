"""What upstream systems submit by Kafka (R16): a batch of records, decided one by one, recorded in one transaction.

What comes by the live topic is live, what comes by the bulk topic is bulk.
"""

from collections.abc import Collection, Sequence

from consent_api.errors import FieldError, SubmissionInvalidError, TransactionTooLongError
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.recording import Outcome
from consent_api.validate import Accepted, Rules, validate
from consent_contracts.codec import Codec
from consent_contracts.errors import Unreadable

from .dead_letter_writer import DeadLetterWriter, Rejected
from .metrics import IngestMetrics
from .record import Consumed


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
        self._lane = lane
        self._most = most
        self._codec = codec
        self._ledger = ledger
        self._rules = rules
        self._tenants = tenants
        self._default_tenant = default_tenant
        self._dead_letters = dead_letters
        self._metrics = metrics

    def handle(self, records: Sequence[Consumed]) -> None:
        """When this returns, each record is committed in the ledger or acknowledged as a dead letter."""
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
        for record, outcome in zip(readable, outcomes, strict=True):
            if isinstance(outcome, SubmissionInvalidError):
                rejected.append(invalid(record, outcome))
            else:
                repeated += outcome.repeated
        if rejected:
            self._dead_letters.write(rejected)
        self._metrics.count(records[0].topic, total=len(records), repeated=repeated, dead_letters=len(rejected))

    def _record(self, accepted: Sequence[Accepted]) -> list[Outcome]:
        """In one transaction, or in smaller ones where one would last longer than its lane allows.

        What has fitted is remembered: an attempt that does not fit costs seconds.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(accepted):
            part = accepted[len(outcomes) : len(outcomes) + self._most]
            try:
                outcomes += self._ledger.record(part, lane=self._lane)
            except TransactionTooLongError:
                if len(part) == 1:
                    raise
                self._most = len(part) // 2
            else:
                self._most += 1
        return outcomes

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
