"""POST /v1/decisions and /v1/decisions/batch; the receipts of a decision."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import UUID

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response

from consent_api.domain.validation import ValidationRules, ValidDecision, dropped_field, rfc3339, validate
from consent_api.errors import (
    FieldViolation,
    KeyReusedError,
    RequestInFlightError,
    SubmissionInvalidError,
    TransactionTooLongError,
)
from consent_api.http import idempotency_key as keys
from consent_api.http import models, rendering
from consent_api.http.back_pressure import BackPressure
from consent_api.http.dependencies import BATCHES_AT_ONCE, RequestDependencies
from consent_api.http.group_commit import GroupCommit
from consent_api.http.metrics import ApiMetrics
from consent_api.http.tenant_turns import TenantTurns
from consent_api.ledger import queries
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import Request, StoredResponse
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.submissions import Parsed, Results, Submission
from consent_contracts.decisions import GIVEN
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import IDEMPOTENCY_KEY, json_body, json_response
from consent_http.problem_details import responses
from consent_http.rate_limits import ConcurrencyLimit

MOST_IN_A_BATCH = 1000
MOST_LIVE_BY_DEFAULT = 100
"""A larger batch is an import, unless the request decides otherwise."""
_BULK_AT_ONCE = BATCHES_AT_ONCE // 2
"""Bulk requests of one tenant that wait for a thread: the other half of its batches is for live ones."""
_UNKNOWN_DECISION = "Use a decision_id that this API answered."
_OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


DecisionIdInPath = Annotated[
    UUID, Path(description="As this API answered it.", examples=["019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18"])
]


def routes(
    ledger: Ledger,
    rules: ValidationRules,
    metrics: ApiMetrics,
    dependencies: RequestDependencies,
    commits: GroupCommit,
    *,
    bulk_threads: int,
) -> APIRouter:
    """The routes about decisions. ``bulk_threads``: bulk requests that are carried out at once."""
    router = APIRouter(tags=["decisions"], route_class=dependencies.route_class)
    handler = DecisionHandler(ledger, rules, metrics, commits, turns=dependencies.turns, bulk_threads=bulk_threads)

    @router.post(
        "/v1/decisions",
        operation_id="submitDecision",
        summary="Record one decision",
        description="Recorded, with all that has to be published, when this answers 201. 200: the event was known."
        " effect says whether it changes anything, or which newer decision decides in its place."
        " A single decision is live: it is delivered before bulk ones. Repeating a bulk event here makes it live.",
        status_code=201,
        responses={
            201: json_response(models.Recorded, "Recorded."),
            200: json_response(models.Recorded, "Known already: the first decision."),
            **responses(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.SubmittedDecision, IDEMPOTENCY_KEY),
    )
    async def submit(
        key: Annotated[Caller, Depends(dependencies.submit)],
        body: Annotated[bytes, Depends(dependencies.submit_body)],
        idempotency_key: keys.IdempotencyKey = None,
    ) -> Response:
        return await handler.submit(key, keys.read(idempotency_key), body)

    @router.post(
        "/v1/decisions/batch",
        operation_id="submitBatch",
        summary="Record up to 1,000 decisions",
        description="In their order and in one transaction, each with a result: recorded, repeated or refused."
        " bulk: true for imports, so that they do not delay people who choose now; left out, it is true above 100"
        " decisions. 429 with Retry-After: earlier bulk decisions are still being published. A live batch that does not"
        " fit into a second is answered 503: send fewer, or bulk: true.",
        responses={
            200: json_response(models.BatchResponse, "One result for each decision."),
            **responses(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.SubmittedBatch, IDEMPOTENCY_KEY),
    )
    async def submit_batch(
        key: Annotated[Caller, Depends(dependencies.submit_batch)],
        body: Annotated[bytes, Depends(dependencies.batch_body)],
        idempotency_key: keys.IdempotencyKey = None,
    ) -> Response:
        return await handler.submit_batch(key, keys.read(idempotency_key), body, admit=dependencies.admit_batch)

    @router.get(
        "/v1/decisions/{decision_id:uuid}",
        operation_id="getDecision",
        summary="A decision as recorded, and its effect now",
        responses={
            200: json_response(models.EvaluatedDecision, "The decision."),
            **responses(401, 403, 404, 422, 429, 503),
        },
    )
    def decision(decision_id: DecisionIdInPath, key: Annotated[Caller, Depends(dependencies.read)]) -> Response:
        keyring = ledger.context.keyring
        found = ledger.transact(lambda c: queries.decision(c, keyring, tenant=key.tenant, decision_id=decision_id))
        if found is None:
            raise rendering.not_found("decision", _UNKNOWN_DECISION)
        return rendering.respond(rendering.to_evaluated(*found))

    @router.get(
        "/v1/decisions/{decision_id}/receipts",
        operation_id="getReceipts",
        summary="Which destinations have received a decision, and when",
        responses={
            200: json_response(models.Receipts, "All receipts so far."),
            **responses(401, 403, 404, 422, 429, 503),
        },
    )
    def receipts(
        decision_id: DecisionIdInPath,
        key: Annotated[Caller, Depends(dependencies.read)],
        after: Annotated[
            str | None, Query(description="more_after of the answer before.", max_length=255, pattern="^[!-~]+$")
        ] = None,
    ) -> Response:
        found = ledger.transact(lambda c: queries.receipts(c, tenant=key.tenant, decision_id=decision_id, after=after))
        if found is None:
            raise rendering.not_found("decision", _UNKNOWN_DECISION)
        return rendering.respond(rendering.to_receipts(str(decision_id), found))

    return router


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """What a batch request asks to record."""

    items: Sequence[object]
    bulk: bool

    @property
    def lane(self) -> Lane:
        return Lane.BULK if self.bulk else Lane.LIVE

    def answer(self, parsed: Parsed, results: Results) -> StoredResponse:
        pairs = [(result, _dropped(read)) for read, result in zip(parsed, results, strict=True)]
        return StoredResponse(status=200, body=msgspec.json.encode(rendering.to_batch_response(pairs, bulk=self.bulk)))


class DecisionHandler:
    """What is sent, on its way into the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        rules: ValidationRules,
        metrics: ApiMetrics,
        commits: GroupCommit,
        *,
        turns: TenantTurns,
        bulk_threads: int,
    ) -> None:
        # A bulk transaction may last a minute: in threads of its own it occupies none that a live request needs.
        self._bulk_threads = anyio.CapacityLimiter(bulk_threads)
        # No more of one tenant queue for these threads, so that tenants take turns, whichever sends how many.
        self._bulk_turns = TenantTurns(bulk_threads)
        self._turns = turns
        self._bulk_at_once = ConcurrencyLimit(_BULK_AT_ONCE)
        self._ledger = ledger
        self._rules = rules
        self._metrics = metrics
        self._commits = commits
        self._back_pressure = BackPressure(ledger, metrics)

    async def submit(self, caller: Caller, key: str, body: bytes) -> Response:
        """Beside whatever else comes at the same moment. A problem when the decision is refused."""
        items = [request_body.decode(body, _OBJECT)]
        submission = self._submission(caller, key, b"decisions\0" + body, items, _one, bulk=False)
        with self._conflicts():
            done = await self._commits.commit_grouped(submission)
        self._count(items, done.parsed, done.results, bulk=False)
        if done.answer is None:
            raise rendering.validation_problem(
                next(each.faults for each in done.results if isinstance(each, SubmissionInvalidError))
            )
        return _response(done.answer)

    async def submit_batch(
        self, caller: Caller, key: str, body: bytes, *, admit: Callable[[Caller, int, bool], None]
    ) -> Response:
        """One result for each, refused or not."""
        batch = await anyio.to_thread.run_sync(_read_batch, body)
        admit(caller, len(batch.items), batch.bulk)
        if not batch.bulk:
            async with self._turns.of(caller.tenant):
                return await anyio.to_thread.run_sync(self._record_batch, caller, key, body, batch)
        with self._bulk_at_once.held(caller):
            async with self._bulk_turns.of(caller.tenant):
                return await anyio.to_thread.run_sync(
                    self._record_batch, caller, key, body, batch, limiter=self._bulk_threads
                )

    def _record_batch(self, caller: Caller, key: str, body: bytes, batch: _Batch) -> Response:
        if batch.bulk:
            self._back_pressure.require_capacity()
        submission = self._submission(caller, key, b"batch\0" + body, batch.items, batch.answer, bulk=batch.bulk)
        with self._conflicts():
            try:
                done = self._commits.commit_single(submission, batch.lane)
            except TransactionTooLongError as error:
                raise _too_long(batch, error) from None
        self._count(batch.items, done.parsed, done.results, bulk=batch.bulk)
        assert done.answer is not None
        return _response(done.answer)

    def _submission(
        self,
        caller: Caller,
        key: str,
        content: bytes,
        items: Sequence[object],
        answer: Callable[[Parsed, Results], StoredResponse | None],
        *,
        bulk: bool,
    ) -> Submission:
        return Submission(
            request=Request(tenant=caller.tenant, key=key, content=content),
            parse=lambda now: [self._read(item, caller, now, bulk=bulk) for item in items],
            answer=answer,
        )

    @contextmanager
    def _conflicts(self) -> Iterator[None]:
        try:
            yield
        except RequestInFlightError:
            self._metrics.idempotency_conflicts.labels("in_flight").inc()
            raise keys.in_flight() from None
        except KeyReusedError:
            self._metrics.idempotency_conflicts.labels("reused").inc()
            raise keys.reused() from None

    def _read(self, item: object, caller: Caller, now: int, *, bulk: bool) -> ValidDecision | SubmissionInvalidError:
        if not isinstance(item, Mapping):
            return SubmissionInvalidError(
                [FieldViolation(pointer="", code="not_an_object", cure="send one object for each decision")]
            )
        try:
            found = validate(item, tenant=caller.tenant, rules=self._rules, now=now, bulk=bulk, read_time=rfc3339)
            return replace(found, sender=caller.sender, may_lift=caller.may_lift)
        except SubmissionInvalidError as error:
            return error

    def _count(self, items: Sequence[object], parsed: Parsed, results: Results, *, bulk: bool) -> None:
        for item, read, result in zip(items, parsed, results, strict=False):
            channel = item.get("channel") if isinstance(item, Mapping) else None
            self._metrics.decided(_outcome(result), channel, bulk=bulk)
            if isinstance(result, RecordedDecision) and not result.repeated:
                for fault in _dropped(read):
                    self._metrics.dropped_fields.labels(dropped_field(fault)).inc()
            if isinstance(result, RecordedDecision) and result.without_effect:
                self._metrics.without_effect(result.outcome.effect, permission=result.status == GIVEN, bulk=bulk)


def _one(parsed: Parsed, results: Results) -> StoredResponse | None:
    (read,), (result,) = parsed, results
    if isinstance(result, SubmissionInvalidError):
        return None
    answer = rendering.to_recorded(result, _dropped(read))
    return StoredResponse(status=200 if result.repeated else 201, body=msgspec.json.encode(answer))


def _dropped(read: ValidDecision | SubmissionInvalidError) -> Sequence[FieldViolation]:
    return read.dropped if isinstance(read, ValidDecision) else ()


def _response(answer: StoredResponse) -> Response:
    return Response(answer.body, status_code=answer.status, media_type="application/json")


def _outcome(result: RecordedDecision | SubmissionInvalidError) -> str:
    if isinstance(result, SubmissionInvalidError):
        return "refused"
    return "repeated" if result.repeated else "recorded"


def _too_long(batch: _Batch, error: TransactionTooLongError) -> ProblemError:
    return ProblemError(
        503,
        "transaction-too-long",
        "The database did not record these decisions within the time that such a request has. Nothing was recorded.",
        cure="Send fewer decisions at once: as they are, they would probably take as long again."
        if batch.bulk
        else "Send fewer decisions at once, or bulk: true if no person waits for them.",
        headers={"Retry-After": str(error.retry_after)},
    )


def _read_batch(body: bytes) -> _Batch:
    document = request_body.decode(body, _OBJECT)
    items, bulk = document.get("decisions"), document.get("bulk")
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_IN_A_BATCH or document.keys() - {"decisions", "bulk"}:
        raise ProblemError(
            422,
            "invalid-batch",
            f"The body is not an object with 1 to {MOST_IN_A_BATCH} decisions, bulk or not, and nothing else.",
            field="/decisions",
            cure=f'Send {{"decisions": [...], "bulk": true}} with at most {MOST_IN_A_BATCH} of them.',
        )
    if bulk is not None and not isinstance(bulk, bool):
        raise ProblemError(
            422,
            "invalid-batch",
            "bulk is neither true nor false.",
            field="/bulk",
            cure=f"Send true or false, or leave it out: it is then true above {MOST_LIVE_BY_DEFAULT} decisions.",
        )
    return _Batch(items=items, bulk=len(items) > MOST_LIVE_BY_DEFAULT if bulk is None else bulk)
