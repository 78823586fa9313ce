"""Requests that submit decisions: each carried out once under its key, any number of them in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from consent_api.domain.validation import ValidDecision
from consent_api.errors import KeyReusedError, RequestInFlightError, SubmissionInvalidError
from consent_api.ledger import idempotency
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import IdempotencyClaim, StoredResponse
from consent_api.ledger.lanes import Lane
from consent_api.ledger.recording import LedgerContext, record
from consent_service import trace_context
from consent_service.trace_context import TraceContext

Parsed = Sequence[ValidDecision | SubmissionInvalidError]
Results = Sequence[RecordedDecision | SubmissionInvalidError]


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What one request asks to record.

    ``parse`` reads it at a moment of the database's clock (micros), within the transaction, so that one clock stamps
    every decision. ``answer`` makes the answer to store; None stores none, so that the same key may come back with the
    fault mended: only for results that are refusals alone. ``also`` writes what belongs to the results in the same
    transaction, at the same moment. ``trace``: the span of the request that makes it, which is that of its decisions.
    """

    request: idempotency.Request = field(repr=False)
    parse: Callable[[int], Parsed] = field(repr=False)
    answer: Callable[[Parsed, Results], StoredResponse | None]
    also: Callable[[Connection, Results, int], None] | None = None
    trace: TraceContext | None = field(default_factory=trace_context.current)


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """What came of a submission. Only ``answer`` is there when it is one that was given before."""

    answer: StoredResponse | None
    parsed: Parsed = ()
    results: Results = ()


Outcome = Completed | RequestInFlightError | KeyReusedError


def execute(
    connection: Connection,
    context: LedgerContext,
    submissions: Sequence[Submission],
    *,
    lane: Lane,
    lock_ms: int,
) -> list[Outcome]:
    """One outcome each, in their order, within the caller's transaction. No two submissions have the same key.

    What `record` raises concerns all of them; from `transact` LedgerContendedError, when another transaction held a
    lock for longer than ``lock_ms``, and TransactionTooLongError, when the lane's time was up.
    """
    now, claims = idempotency.claim(
        connection, context.keyring, [each.request for each in submissions], lane=lane, lock_ms=lock_ms
    )
    parsed = [
        _traced(submission, now) if isinstance(claim, IdempotencyClaim) else ()
        for submission, claim in zip(submissions, claims, strict=True)
    ]
    accepted = [each for of_one in parsed for each in of_one if isinstance(each, ValidDecision)]
    recorded = iter(record(connection, context, accepted, lane=lane))
    outcomes: list[Outcome] = []
    answered: list[tuple[IdempotencyClaim, StoredResponse]] = []
    for submission, claim, of_one in zip(submissions, claims, parsed, strict=True):
        if isinstance(claim, StoredResponse):
            outcomes.append(Completed(answer=claim))
        elif not isinstance(claim, IdempotencyClaim):
            outcomes.append(claim)
        else:
            results = [next(recorded) if isinstance(each, ValidDecision) else each for each in of_one]
            if submission.also is not None:
                submission.also(connection, results, now)
            answer = submission.answer(of_one, results)
            outcomes.append(Completed(answer=answer, parsed=of_one, results=results))
            if answer is not None:
                answered.append((claim, answer))
    idempotency.store(connection, answered, now=now)
    return outcomes


def _traced(submission: Submission, now: int) -> Parsed:
    parsed = submission.parse(now)
    if submission.trace is None:
        return parsed
    traceparent = str(submission.trace)
    return [replace(each, traceparent=traceparent) if isinstance(each, ValidDecision) else each for each in parsed]
