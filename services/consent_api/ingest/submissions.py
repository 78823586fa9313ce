"""What upstream systems submit by Kafka (R16): a batch of records, decided one by one, recorded in one transaction.

What comes by the live topic is live, what comes by the bulk topic is bulk.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.exc import DBAPIError

from consent_api.domain.effects import Effect
from consent_api.domain.validation import (
    Event,
    ValidationRules,
    ValidDecision,
    dropped_field,
    event_source,
    readable_event,
    validate,
)
from consent_api.domain.validation.clear_addresses import same_address, shows_address
from consent_api.domain.validation.references import LONGEST_REFERENCE
from consent_api.errors import (
    FieldViolation,
    LedgerContendedError,
    SubmissionInvalidError,
    TransactionTooLongError,
)
from consent_api.ingest.dead_letter_writer import NOT_STORABLE, DeadLetterWriter, RejectedRecord, without_unfetchable
from consent_api.ingest.metrics import REGISTRY, IngestMetrics
from consent_api.ingest.record import Consumed
from consent_api.ingest.results import ResultWriter, SubmissionResult
from consent_api.ledger import events
from consent_api.ledger.database import refusal
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import MAX_TOO_LONG, PATIENCE_SECONDS, Ledger
from consent_api.ledger.recording import Outcome
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_contracts.decisions import GIVEN
from consent_contracts.errors import RegistryUnavailableError, UnreadableError
from consent_service import spans, trace_context
from consent_service.retry import Backoff
from consent_service.trace_context import TraceContext

log = logging.getLogger(__name__)

_SINGLE_LOCK_MS = 10
"""How long one submission by itself waits for a lock before it is left for later. Short, as many may have to wait."""
_SINGLY_SECONDS = 0.5
"""How long submissions are tried one by one before new ones are looked at: where a table is held, all would wait."""

_ASK_AGAIN = Backoff((1.0, 2.0, 5.0, 10.0, 30.0))
"""Between two questions to a registry that does not answer. One that hangs costs seconds, in which others wait."""

WITHOUT_EFFECT = "without_effect"
"""The reason of a dead letter whose refusal is recorded, and changes nothing."""
_MOST_NAMED = 20
"""Records or decisions that one line of the log names."""

_Person = tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class _TooLong:
    """How often a person's next submission has exceeded the live lane's time alone, and since when (monotonic)."""

    since: float
    times: int = 0


class Submissions:
    """Raises LedgerUnavailableError, DeadLettersNotWrittenError or ResultsNotWrittenError: try the batch again.

    Trying again is harmless: the ledger recognises an event by its id, the dead letters a record by its place.
    """

    def __init__(
        self,
        *,
        lane: Lane,
        codec: Codec,
        ledger: Ledger,
        rules: ValidationRules,
        tenants: Collection[str],
        default_tenant: str | None,
        bound: Collection[str] | None = None,
        dead_letters: DeadLetterWriter,
        results: ResultWriter,
        metrics: IngestMetrics,
        no_lift: Collection[str] = (),
        sampled_ratio: float = 0.0,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tenants`: all of the installation; `bound`: those that this lane's topic takes, by default all. `no_lift`:
        topics and source systems whose permissions lift no refusal. `sampled_ratio`: the share of the traces begun here
        that are sampled. `most`: decisions in one transaction at first.
        `clock`: monotonic seconds."""
        self._clock = clock
        self._sampled_ratio = sampled_ratio
        self._no_lift = frozenset(name.casefold() for name in no_lift)
        self._waiting: dict[_Person, None] = {}
        """In the order in which they were last tried."""
        self._too_long: dict[_Person, _TooLong] = {}
        self._unanswered = 0
        """Questions to the registry, in a row."""
        self._ask_again_at = -math.inf
        self._lane = lane
        self._most = most
        self._codec = codec
        self._ledger = ledger
        self._rules = rules
        self._tenants = tenants
        self._bound = tenants if bound is None else bound
        self._default_tenant = default_tenant
        self._dead_letters = dead_letters
        self._results = results
        self._metrics = metrics

    def handle(self, records: Sequence[Consumed]) -> Sequence[Consumed]:
        """When this returns, each record is committed in the ledger or acknowledged as a dead letter, and its result is
        published, but for those returned: another transaction holds the person that they concern, or the registry does
        not answer, and their schema is not known here."""
        now, read_at, start = self._ledger.now(), self._clock(), spans.now()
        readable: list[Consumed] = []
        accepted: list[ValidDecision] = []
        fetched, rejected = without_unfetchable(records)
        unfetchable = [record for record in records if record.unfetchable]
        results = [_unreadable(record, each) for record, each in zip(unfetchable, rejected, strict=True)]
        left: list[Consumed] = []
        for record in fetched:
            datum: dict[str, Any] = {}
            try:
                datum = self._decoded(record, read_at)
                accepted.append(self._read(record, datum, now))
                readable.append(record)
            except UnreadableError as error:
                rejected.append(RejectedRecord(record=record, reason=error.reason, error=str(error)))
                results.append(_unreadable(record, rejected[-1]))
            except RegistryUnavailableError:
                left.append(record)
            except SubmissionInvalidError as error:
                rejected.append(invalid(record, error))
                results.append(self._refused(record, rejected[-1], error, datum))
        commit = spans.now()
        outcomes = self._record(accepted)
        if spans.is_on():
            _end_spans(readable, accepted, outcomes, start=start, commit=commit)
        recorded: list[SubmissionResult] = []
        for record, each, outcome in zip(readable, accepted, outcomes, strict=True):
            if outcome is None:
                left.append(record)
            elif isinstance(outcome, SubmissionInvalidError):
                rejected.append(invalid(record, outcome))
                results.append(_refused(record, rejected[-1], outcome, tenant=each.tenant, event=each.event))
            else:
                recorded.append(_recorded(record, each, outcome))
        lost = self._report(records[0].topic, recorded)
        refused = [kept for each in results if (kept := each.refused_event(now)) is not None]
        if refused:
            self._ledger.transact(lambda connection: events.refuse(connection, refused))
        if rejected or lost:
            self._dead_letters.write([*rejected, *lost])
        results += recorded
        if results:
            self._results.write(results, now=now)
        done, repeated = len(records) - len(left), sum(each.outcome == REPEATED for each in recorded)
        self._metrics.count(records[0].topic, total=done, repeated=repeated, dead_letters=len(rejected))
        waiting = {each.coordinates for each in left}
        return [each for each in records if each.coordinates in waiting] if waiting else []

    def _decoded(self, record: Consumed, read_at: float) -> dict[str, Any]:
        """Raises UnreadableError, and RegistryUnavailableError where its schema is not known here, and the registry
        does not answer or has just not answered."""
        if not self._codec.asks_registry(record.topic, record.value):
            return self._codec.decode(record.topic, record.value, read_at=read_at)
        if self._clock() < self._ask_again_at:
            raise RegistryUnavailableError("it is asked again in a while")
        before, self._unanswered = self._unanswered, 0
        try:
            return self._codec.decode(record.topic, record.value, read_at=read_at)
        except RegistryUnavailableError as error:
            self._unanswered = before + 1
            self._ask_again_at = self._clock() + _ASK_AGAIN.seconds(self._unanswered)
            self._metrics.retries.labels(record.topic, REGISTRY).inc()
            log.warning(
                "submissions of a schema that is not known here wait for the registry",
                extra={"topic": record.topic, "record": f"{record.partition}:{record.offset}", "error": str(error)},
            )
            raise

    def _report(self, topic: str, recorded: Sequence[SubmissionResult]) -> list[RejectedRecord]:
        """Logs and counts what was recorded and needs a look; the refusals that become dead letters all the same."""
        found = [(each, each.recorded) for each in recorded if each.recorded is not None]
        self._report_dropped(topic, [each for each, outcome in found if each.dropped and not outcome.repeated])
        self._report_after_lift(
            topic,
            [
                (each.record, outcome)
                for each, outcome in found
                if outcome.repeated
                and not outcome.without_effect
                and outcome.status != GIVEN
                and outcome.outcome.effect is Effect.SUPERSEDED
            ],
        )
        return self._without_effect([(each.record, outcome) for each, outcome in found if outcome.without_effect])

    def _report_dropped(self, topic: str, dropped: Sequence[SubmissionResult]) -> None:
        """A counter by field, and a line a batch: a producer that writes a field wrongly does so in each record."""
        if not dropped:
            return
        for each in dropped:
            for fault in each.dropped:
                self._metrics.dropped_fields.labels(topic, dropped_field(fault)).inc()
        log.warning(
            "refusals were recorded without fields that could not be read",
            extra={
                "topic": topic,
                "count": len(dropped),
                "records": [f"{each.record.partition}:{each.record.offset}" for each in dropped[:_MOST_NAMED]],
                "fields": sorted({f"{fault.pointer}: {fault.code}" for each in dropped for fault in each.dropped}),
            },
        )

    def _report_after_lift(self, topic: str, repeated: Sequence[tuple[Consumed, RecordedDecision]]) -> None:
        """Refusals whose event had its effect until the person permitted again. No dead letters: a replay has many."""
        if not repeated:
            return
        self._metrics.repeats_after_lift.labels(topic).inc(len(repeated))
        log.warning(
            "refusals repeat events that a later permission has lifted, and change nothing",
            extra={
                "topic": topic,
                "count": len(repeated),
                "records": [f"{record.partition}:{record.offset}" for record, _ in repeated[:_MOST_NAMED]],
                "decision_ids": [each.decision_id for _, each in repeated[:_MOST_NAMED]],
            },
        )

    def _without_effect(self, recorded: Sequence[tuple[Consumed, RecordedDecision]]) -> list[RejectedRecord]:
        """Counts decisions that change nothing. The refusals among them become dead letters too, since no caller
        gets an answer that reports it. Also where they are repeated: this batch may have been recorded before."""
        refusals = [each for each in recorded if each[1].status != GIVEN]
        for record, each in recorded:
            self._metrics.changed_nothing(record.topic, each.outcome.effect, permission=each.status == GIVEN)
        if refusals:
            named = [each.decision_id for _, each in refusals[:_MOST_NAMED]]
            log.warning("refusals recorded without effect", extra={"count": len(refusals), "decision_ids": named})
        return [
            RejectedRecord(record=record, reason=WITHOUT_EFFECT, error=_explained(each)) for record, each in refusals
        ]

    def _record(self, accepted: Sequence[ValidDecision]) -> list[Outcome | None]:
        """In as few transactions as fit; None for those that have to wait. Submissions for one person keep their order.

        What has fitted is remembered, as an attempt that does not fit costs seconds; so is who had to wait, as they
        would make all others wait again.
        """
        outcomes: list[Outcome | None] = [None] * len(accepted)
        present = {_person(each) for each in accepted}
        self._waiting = {person: None for person in self._waiting if person in present}
        self._too_long = {person: known for person, known in self._too_long.items() if person in present}
        apart: dict[_Person, list[int]] = {person: [] for person in self._waiting}
        rest: list[int] = []
        for at, each in enumerate(accepted):
            apart.get(_person(each), rest).append(at)
        until = min(self._record_together(accepted, rest, outcomes), self._clock() + _SINGLY_SECONDS)
        self._record_singly(accepted, [at for each in apart.values() for at in each], outcomes, until=until)
        return outcomes

    def _record_together(
        self, accepted: Sequence[ValidDecision], rest: Sequence[int], outcomes: list[Outcome | None]
    ) -> float:
        """Until when others may be tried one by one (monotonic seconds), as some of these had to be."""
        until = math.inf
        while rest and self._clock() < until:
            window = rest[: self._most]
            part = [at for at in window if _person(accepted[at]) not in self._waiting]
            try:
                recorded = self._ledger.attempt([accepted[at] for at in part], lane=self._lane)
            except DBAPIError as error:
                if refusal(error) is None:
                    raise
                # Some record among them: the others are recorded without it.
                until = min(until, self._clock() + _SINGLY_SECONDS)
                self._record_singly(accepted, part, outcomes, until=until)
            except (TransactionTooLongError, LedgerContendedError) as error:
                if isinstance(error, TransactionTooLongError) and len(part) > 1:
                    self._most = len(part) // 2
                    continue
                until = min(until, self._clock() + _SINGLY_SECONDS)
                by_person: dict[_Person, list[int]] = {}
                for at in part:
                    by_person.setdefault(_person(accepted[at]), []).append(at)
                # The newest first: they are the least likely to wait for a lock where many persons before them do.
                newest_first = [at for person in reversed(by_person) for at in by_person[person]]
                self._record_singly(accepted, newest_first, outcomes, until=until)
            else:
                for at, outcome in zip(part, recorded, strict=True):
                    outcomes[at] = outcome
                self._most += 1
            rest = rest[len(window) :]
        return until

    def _record_singly(
        self,
        accepted: Sequence[ValidDecision],
        positions: Sequence[int],
        outcomes: list[Outcome | None],
        *,
        until: float,
    ) -> None:
        """One, then more until that time (monotonic seconds). Who was tried goes to the end of those that wait, so that
        the next time begins with the others."""
        failed: set[_Person] = set()
        for at in positions:
            person = _person(accepted[at])
            if person in failed:
                continue
            self._waiting.pop(person, None)
            outcomes[at] = self._record_one(accepted[at])
            if outcomes[at] is None:
                failed.add(person)
                self._waiting[person] = None
            if self._clock() >= until:
                return

    def _record_one(self, each: ValidDecision) -> Outcome | None:
        """None: it has to wait. A record that the database cannot hold is refused."""
        try:
            return self._record_or_wait(each)
        except DBAPIError as error:
            if (code := refusal(error)) is None:
                raise
            cure = f"send it without what the database cannot hold ({code})"
            return SubmissionInvalidError([FieldViolation(pointer="", code=NOT_STORABLE, cure=cure)])

    def _record_or_wait(self, each: ValidDecision) -> Outcome | None:
        """None: it has to wait. Where it keeps exceeding the live lane's time it goes by the bulk lane, with its own
        mark: it takes effect later, but is not tried for ever. Not at once, as the database may be slow for seconds."""
        person = _person(each)
        try:
            [outcome] = self._ledger.attempt([each], lane=self._lane, lock_ms=_SINGLE_LOCK_MS)
        except LedgerContendedError:
            return None
        except TransactionTooLongError:
            if self._lane is Lane.BULK:
                raise
            known = self._too_long.setdefault(person, _TooLong(since=self._clock()))
            known.times += 1
            if known.times < MAX_TOO_LONG and self._clock() < known.since + PATIENCE_SECONDS:
                return None
            try:
                [outcome] = self._ledger.attempt([each], lane=Lane.BULK)
            except LedgerContendedError:
                return None
            self._metrics.by_bulk.inc()
            decision_id = outcome.decision_id if isinstance(outcome, RecordedDecision) else None
            log.warning(
                "a live submission was recorded by the bulk lane",
                extra={"decision_id": decision_id, **_trace_id(each)},
            )
        self._too_long.pop(person, None)
        return outcome

    def _tenant(self, datum: Mapping[str, Any]) -> str:
        """Of a submission. Raises SubmissionInvalidError."""
        named = datum["tenant"]
        tenant: str | None = named if named is not None else self._default_tenant
        if tenant is None:
            raise SubmissionInvalidError([_MISSING_TENANT])
        if tenant not in self._tenants:
            raise SubmissionInvalidError([_UNKNOWN_TENANT])
        if tenant not in self._bound:
            raise SubmissionInvalidError([_OTHER_TENANT])
        return tenant

    def _read(self, record: Consumed, datum: Mapping[str, Any], now: int) -> ValidDecision:
        tenant = self._tenant(datum)
        fields = {name: value for name, value in datum.items() if name != "tenant"}
        accepted = validate(fields, tenant=tenant, rules=self._rules, now=now, bulk=self._lane is Lane.BULK)
        sender = _sender(record)
        named = {name.casefold() for name in (record.topic, sender, accepted.source_system) if name}
        kept = _kept_in_the_clear(sender, accepted.address, self._rules.default_region)
        return replace(
            accepted, sender=kept, may_lift=named.isdisjoint(self._no_lift), traceparent=str(self._span_of(record))
        )

    def _span_of(self, record: Consumed) -> TraceContext:
        """A child of the producer's, or the first one of a new trace."""
        parent = trace_context.of_headers(record.headers)
        if parent is not None:
            return parent.child()
        return trace_context.begin(sampled=trace_context.is_drawn(self._sampled_ratio))

    def _refused(
        self, record: Consumed, rejected: RejectedRecord, error: SubmissionInvalidError, datum: Mapping[str, Any]
    ) -> SubmissionResult:
        """The result of a submission that breaks a rule, under its event id where that can be read."""
        try:
            tenant = self._tenant(datum)
        except SubmissionInvalidError:
            return _refused(record, rejected, error)
        event_id, source_system = readable_event(datum, rules=self._rules)
        if event_id is None:
            return _refused(record, rejected, error, tenant=tenant)
        # The address may be what cannot be read.
        sender = _kept_in_the_clear(_sender(record), None, self._rules.default_region)
        event = tenant, event_source(source_system, sender), event_id
        return _refused(record, rejected, error, tenant=tenant, event=event)


def _end_spans(
    records: Sequence[Consumed],
    accepted: Sequence[ValidDecision],
    outcomes: Sequence[Outcome | None],
    *,
    start: int,
    commit: int,
) -> None:
    """Of those that are recorded. `start`: when their batch was taken up; `commit`: when it was decoded."""
    for record, each, outcome in zip(records, accepted, outcomes, strict=True):
        span = trace_context.parse(each.traceparent)
        if span is None or not span.sampled or not isinstance(outcome, RecordedDecision):
            continue
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": record.topic,
            "messaging.kafka.offset": record.offset,
            "consent_relay.decision_id": outcome.decision_id,
        }
        spans.end_child("ledger commit", span, start=commit)
        parent = trace_context.of_headers(record.headers)
        spans.end("ingest", span, parent=parent, start=start, kind="consumer", attributes=attributes)


def _trace_id(each: ValidDecision) -> dict[str, str]:
    trace = trace_context.parse(each.traceparent)
    return {"trace_id": trace.trace_id} if trace is not None else {}


RECORDED, REPEATED, REFUSED, UNREADABLE = "recorded", "repeated", "refused", "unreadable"
"""Outcomes of submissions, as the topic of results has them."""


def _recorded(record: Consumed, accepted: ValidDecision, recorded: RecordedDecision) -> SubmissionResult:
    return SubmissionResult(
        record=record,
        tenant=accepted.tenant,
        event=accepted.event,
        recorded=recorded,
        outcome=REPEATED if recorded.repeated else RECORDED,
        dropped=accepted.dropped,
        dead_letter=WITHOUT_EFFECT if recorded.without_effect and recorded.status != GIVEN else None,
    )


def _unreadable(record: Consumed, rejected: RejectedRecord) -> SubmissionResult:
    fault = FieldViolation(pointer="", code=rejected.reason, cure=rejected.error)
    return SubmissionResult(record=record, outcome=UNREADABLE, errors=(fault,), dead_letter=rejected.reason)


def _refused(
    record: Consumed,
    rejected: RejectedRecord,
    error: SubmissionInvalidError,
    *,
    tenant: str | None = None,
    event: Event | None = None,
) -> SubmissionResult:
    return SubmissionResult(
        record=record, tenant=tenant, event=event, outcome=REFUSED, errors=error.faults, dead_letter=rejected.reason
    )


def _sender(record: Consumed) -> str:
    """The source that the record's CloudEvents header names; empty: none."""
    return (dict(record.headers).get("ce_source") or b"").decode(errors="replace").strip()


def _kept_in_the_clear(sender: str, address: str | None, region: str) -> str:
    """What is kept of a source's name with each event: of one that shows an address, its hash (R13). A long one, of
    which the hash is kept anyway, is not looked at."""
    if len(sender) > LONGEST_REFERENCE or not (shows_address(sender, region) or same_address(sender, address)):
        return sender
    return hashlib.sha256(sender.encode()).hexdigest()


def _explained(recorded: RecordedDecision) -> str:
    """Why a refusal that is recorded has no effect, and the cure."""
    found = recorded.outcome
    where = f"recorded as decision {recorded.decision_id}"
    if found.effect is Effect.NO_ADDRESS:
        return f"{where}, reaches no address: link the person's addresses, or send the address with it"
    since = "" if found.superseded_since is None else f" of {rfc3339(found.superseded_since)}"
    return (
        f"{where}, superseded by decision {found.superseded_by}{since}: if the person refused after that, send it again"
        " under a new event_id with the right occurred_at"
    )


def _person(each: ValidDecision) -> _Person:
    """Whom a submission concerns: the subject, whom a transaction that decides for them locks, or else the address."""
    if each.subject_ref is not None:
        return each.tenant, each.subject_ref
    return each.tenant, each.channel, each.address or ""


def invalid(record: Consumed, refused: SubmissionInvalidError) -> RejectedRecord:
    """A readable record that breaks rules: every one of them is named, with its cure."""
    reason = NOT_STORABLE if NOT_STORABLE in {fault.code for fault in refused.faults} else "invalid"
    return RejectedRecord(record=record, reason=reason, error=str(refused))


_MISSING_TENANT = FieldViolation(
    pointer="/tenant",
    code="missing",
    cure="name the tenant: this installation has several and no CONSENT_RELAY_INGEST_TENANT",
)
_UNKNOWN_TENANT = FieldViolation(
    pointer="/tenant", code="unknown_tenant", cure="send a tenant that the keyring has hash keys for"
)
_OTHER_TENANT = FieldViolation(
    pointer="/tenant",
    code="other_tenant",
    cure="send it where its tenant's submissions are taken, by HTTP with a key of that tenant: this topic takes others"
    " only (CONSENT_RELAY_INGEST_LIVE_TENANTS, _BULK_TENANTS)",
)
