"""From what the ledger returns to what is answered, and from what is wrong to problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from fastapi import Response

from consent_api.domain.effects import Effect, Outcome
from consent_api.errors import (
    FieldViolation,
    LedgerContendedError,
    LedgerUnavailableError,
    SubmissionInvalidError,
    TransactionTooLongError,
)
from consent_api.http import models
from consent_api.ledger import queries
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.events import RecordedEvent, RefusedEvent
from consent_api.ledger.links import Linked
from consent_api.ledger.reviews import Review
from consent_contracts.cloudevents import rfc3339, rfc3339_or_none
from consent_contracts.verdict import Verdict
from consent_http import problem_details
from consent_http.errors import ProblemError
from consent_service import trace_context

MOST_FAULTS = 100
"""Faults that one answer lists: a body of a megabyte can have a hundred thousand."""

MOST_ADDRESSES = 10
"""Addresses that a result of a batch lists: the answer is stored for a day."""


def respond(answer: msgspec.Struct, *, status: int = 200) -> Response:
    """``answer`` as JSON."""
    return Response(msgspec.json.encode(answer), status_code=status, media_type="application/json")


def validation_problem(faults: tuple[FieldViolation, ...], *, kind: str = "invalid-decision") -> ProblemError:
    """All that is wrong with what was sent, as one problem."""
    return ProblemError(
        422,
        kind,
        f"{len(faults)} part(s) of the request break a rule; nothing was recorded.",
        field=faults[0].pointer,
        cure=faults[0].cure,
        errors=[{"field": each.pointer, "detail": each.code, "cure": each.cure} for each in faults[:MOST_FAULTS]],
    )


def not_found(what: str, cure: str) -> ProblemError:
    """404, for this tenant."""
    return ProblemError(404, "not-found", f"There is no such {what}.", cure=cure)


def unavailable(error: LedgerUnavailableError) -> ProblemError:
    """503, which says whether the request can succeed when it is sent again as it is."""
    headers = {"Retry-After": str(error.retry_after)}
    again = "Send it again, with the same Idempotency-Key and event_id: it is carried out once."
    if isinstance(error, TransactionTooLongError):
        return ProblemError(
            503,
            "transaction-too-long",
            "The database did not finish this request within the time that such a request has. Nothing was recorded.",
            cure="Send fewer decisions or addresses at once: as it is, it would probably take as long again.",
            headers=headers,
        )
    if isinstance(error, LedgerContendedError):
        detail = "Other requests hold what this one needs. Nothing of it was acknowledged."
        return ProblemError(503, "ledger-contended", detail, cure=again, headers=headers)
    detail = "The database does not answer. Nothing of this request was acknowledged."
    return ProblemError(503, "ledger-unavailable", detail, cure=again, headers=headers)


def to_recorded(outcome: RecordedDecision, dropped: Sequence[FieldViolation]) -> models.Recorded:
    return models.Recorded(
        outcome="repeated" if outcome.repeated else "recorded",
        decision_id=outcome.decision_id,
        effective_at=rfc3339(outcome.effective_at),
        recorded_at=rfc3339(outcome.recorded_at),
        addresses=list(outcome.address_keys),
        dropped=_field_errors(dropped[:MOST_FAULTS]) or msgspec.UNSET,
        warnings=_warnings(outcome) or msgspec.UNSET,
        **_effect(outcome.outcome),
    )


def to_spoken(
    recorded: Sequence[tuple[str, RecordedDecision]], left: Mapping[str, str], dropped: Sequence[FieldViolation]
) -> models.SpokenRecorded:
    return models.SpokenRecorded(
        withdrawals=[
            models.ChannelWithdrawal(
                channel=channel,
                decision_id=each.decision_id,
                effective_at=rfc3339(each.effective_at),
                recorded_at=rfc3339(each.recorded_at),
                addresses=list(each.address_keys[:MOST_ADDRESSES]),
                warnings=_warnings(each) or msgspec.UNSET,
                **_effect(each.outcome),
            )
            for channel, each in recorded
        ],
        not_withdrawn=[models.NotWithdrawn(channel=channel, reason=reason) for channel, reason in left.items()],
        dropped=_field_errors(dropped[:MOST_FAULTS]) or msgspec.UNSET,
    )


Result = tuple[RecordedDecision | SubmissionInvalidError, Sequence[FieldViolation]]
"""What became of a decision, and what it was recorded without."""


def to_batch_response(results: Sequence[Result], *, bulk: bool) -> models.BatchResponse:
    """The first fault of each decision is listed before any other's second, in all `MOST_FAULTS`."""
    faults = [
        outcome.faults if isinstance(outcome, SubmissionInvalidError) else dropped for outcome, dropped in results
    ]
    listed = _shares(list(map(len, faults)))
    return models.BatchResponse(
        bulk=bulk,
        results=[
            _batch_result(outcome, position, faults[position][: listed[position]])
            for position, (outcome, _) in enumerate(results)
        ],
        faults_not_listed=sum(map(len, faults)) - sum(listed),
    )


def _shares(counts: Sequence[int]) -> list[int]:
    """How many of each to list."""
    shares = [0] * len(counts)
    for position in islice((position for position, count in enumerate(counts) if count), MOST_FAULTS):
        shares[position] = 1
    left = MOST_FAULTS - sum(shares)
    for position, count in enumerate(counts):
        more = min(count - shares[position], left)
        shares[position] += more
        left -= more
    return shares


def _batch_result(
    outcome: RecordedDecision | SubmissionInvalidError, position: int, faults: Sequence[FieldViolation]
) -> models.BatchResult:
    """The result of one decision of a batch; pointers lead from the whole body."""
    within = f"/decisions/{position}"
    if isinstance(outcome, SubmissionInvalidError):
        return models.BatchResult(outcome="refused", errors=_field_errors(faults, within=within))
    return models.BatchResult(
        outcome="repeated" if outcome.repeated else "recorded",
        decision_id=outcome.decision_id,
        effective_at=rfc3339(outcome.effective_at),
        recorded_at=rfc3339(outcome.recorded_at),
        addresses=list(outcome.address_keys[:MOST_ADDRESSES]),
        addresses_not_listed=max(len(outcome.address_keys) - MOST_ADDRESSES, 0),
        dropped=_field_errors(faults, within=within) or msgspec.UNSET,
        warnings=_warnings(outcome) or msgspec.UNSET,
        **_effect(outcome.outcome),
    )


_NO_ADDRESS = models.DecisionWarning(
    code="no_address",
    message="It reached no address: none of this person is known on the channel. Send the address, or link it.",
)
_UNKNOWN_REFERENCE = models.DecisionWarning(
    code="unknown_reference",
    message="This subject_ref was new, and came without an address: it reached none. Check the reference, or send the"
    " address.",
)
_SUPERSEDED = models.DecisionWarning(
    code="superseded",
    message="A decision with a newer effective_at decides in its place: see superseded_by. For a new withdrawal, check"
    " your clock and offset.",
)
_ENDED = models.DecisionWarning(code="superseded", message="This permission has ended: it permits nothing.")


def _warnings(recorded: RecordedDecision) -> list[models.DecisionWarning]:
    """What to look at, where a decision is recorded otherwise than it was submitted, or not in effect."""
    return [*_cut(recorded), *_without_effect(recorded)]


def _cut(recorded: RecordedDecision) -> list[models.DecisionWarning]:
    if recorded.cut is None:
        return []
    bound = recorded.cut.bound
    message = (
        f"It ends on {rfc3339(recorded.cut.expires_at)} and not later: {bound.days} days after it was given at most"
        f" ({bound.jurisdiction}, {bound.source})."
    )
    return [models.DecisionWarning(code="expiry_cut", message=message)]


def _without_effect(recorded: RecordedDecision) -> list[models.DecisionWarning]:
    if recorded.outcome.effect is Effect.NO_ADDRESS:
        return [_UNKNOWN_REFERENCE if recorded.unknown_subject else _NO_ADDRESS]
    if recorded.outcome.effect is Effect.SUPERSEDED:
        return [_ENDED if recorded.outcome.superseded_by == recorded.decision_id else _SUPERSEDED]
    return []


def _field_errors(faults: Sequence[FieldViolation], *, within: str = "") -> list[problem_details.FieldViolation]:
    return [
        problem_details.FieldViolation(pointer=f"{within}{each.pointer}", detail=each.code, cure=each.cure)
        for each in faults
    ]


def to_linked(found: list[Linked]) -> models.Addresses:
    return models.Addresses(
        addresses=[
            models.LinkedAddress(channel=each.channel, address_key=each.address_key, linked_at=rfc3339(each.linked_at))
            for each in found
        ]
    )


def to_state(subject_ref: str, found: queries.SubjectState) -> models.SubjectState:
    return models.SubjectState(
        subject_ref=subject_ref,
        at=rfc3339(found.at),
        decisions=[to_decision(each) for each in found.entries],
        more_after=found.more_after,
        addresses=[
            models.AddressState(
                channel=each.channel,
                address_key=each.address_key,
                linked_at=rfc3339(each.linked_at),
                verdicts={purpose: to_verdict(known) for purpose, known in each.verdicts.items()},
            )
            for each in found.addresses
        ],
    )


def to_history(subject_ref: str, found: queries.SubjectHistory) -> models.SubjectHistory:
    return models.SubjectHistory(
        subject_ref=subject_ref,
        decisions=[to_evaluated(*each) for each in found.decisions],
        more_after=found.more_after,
    )


def to_evaluated(found: queries.LedgerDecision, outcome: Outcome) -> models.EvaluatedDecision:
    return models.EvaluatedDecision(**msgspec.structs.asdict(to_decision(found)), **_effect(outcome))


def to_reviews(found: Sequence[Review], *, most: int) -> models.Reviews:
    """A page, of which one more than ``most`` shows that there are more."""
    page = found[:most]
    return models.Reviews(
        reviews=[to_review(each) for each in page],
        more_after=page[-1].review_id if len(found) > most else None,
    )


def to_review(found: Review) -> models.Review:
    return models.Review(
        review_id=found.review_id,
        channel=found.channel,
        source=found.source,
        rule=found.rule,
        received_at=rfc3339(found.received_at),
        decision_ids=list(found.decision_ids),
        reply=found.reply,
        resolution=found.resolution,
        resolved_at=rfc3339_or_none(found.resolved_at),
        resolved_by=found.resolved_by,
        restored=list(found.restored),
    )


def to_event(event_id: str, recorded: Sequence[RecordedEvent], refused: Sequence[RefusedEvent]) -> models.Event:
    return models.Event(
        event_id=event_id,
        results=[
            *(
                models.EventResult(
                    source=each.source,
                    outcome="recorded",
                    decision_id=each.decision_id,
                    effective_at=rfc3339(each.effective_at),
                    recorded_at=rfc3339(each.recorded_at),
                    **_effect(each.outcome),
                )
                for each in recorded
            ),
            *(
                models.EventResult(
                    source=each.event[1],
                    outcome="refused",
                    refused_at=rfc3339(each.refused_at),
                    errors=_field_errors(each.errors),
                    dead_letter=models.DeadLetter(
                        reason=each.dead_letter, topic=each.topic, partition=each.partition, offset=each.offset
                    ),
                )
                for each in refused
            ),
        ],
    )


def to_explanation(channel: str, purpose: str, found: queries.Explanation) -> models.Explanation:
    since = found.deciding.decision.effective_at if found.deciding is not None else None
    return models.Explanation(
        channel=channel,
        purpose=purpose,
        address_key=found.address_key,
        verdict=to_verdict(found.verdict),
        deciding=to_decision(found.deciding) if found.deciding is not None else None,
        age_seconds=(found.at - since) / 1_000_000 if since is not None else None,
        others=[to_evaluated(*each) for each in found.others],
        more_after=found.more_after,
        receipts=[to_receipt(each) for each in found.receipts],
    )


def to_receipts(decision_id: str, found: queries.DecisionReceipts) -> models.Receipts:
    return models.Receipts(
        decision_id=decision_id,
        bulk=found.bulk,
        receipts=[to_receipt(each) for each in found.receipts],
        more_after=found.more_after,
        **_effect(found.outcome),
    )


def to_receipt(found: queries.Receipt) -> models.Receipt:
    return models.Receipt(
        receipt_id=found.receipt_id,
        destination=found.destination,
        channel=found.channel,
        address_key=found.address_key,
        target=found.target,
        action=found.action,
        stage=found.stage,
        version=found.version,
        recorded_at=rfc3339(found.recorded_at),
        queued_at=rfc3339(found.queued_at),
        reached_at=rfc3339(found.reached_at),
        attempts=found.attempts,
        provider_reference=found.provider_reference,
        detail=found.detail,
    )


def to_decision(entry: queries.LedgerDecision) -> models.Decision:
    found = entry.decision
    return models.Decision(
        decision_id=found.decision_id,
        subject_ref=found.subject_ref,
        channel=entry.channel,
        purpose=found.purpose,
        status=found.status,
        occurred_at=rfc3339_or_none(entry.occurred_at),
        effective_at=rfc3339(found.effective_at),
        recorded_at=rfc3339(found.recorded_at),
        expires_at=rfc3339_or_none(found.expires_at),
        source_system=entry.source_system,
        bulk=found.bulk,
        evidence=msgspec.convert(entry.evidence, models.Evidence),
        addresses=list(entry.address_keys),
        trace_id=_trace_id(entry.traceparent),
    )


def _trace_id(traceparent: str | None) -> str | None:
    trace = trace_context.parse(traceparent)
    return None if trace is None else trace.trace_id


def to_verdict(found: Verdict) -> models.Verdict:
    return models.Verdict(
        permitted=found.permitted,
        reason=found.reason,
        since=rfc3339_or_none(found.since),
        expires_at=rfc3339_or_none(found.expires_at),
        decision_id=found.decision_id,
    )


def _effect(outcome: Outcome) -> dict[str, Any]:
    """The fields of models.WithEffect."""
    return {
        "effect": outcome.effect.value,
        "superseded_by": outcome.superseded_by,
        "superseded_since": rfc3339_or_none(outcome.superseded_since),
    }
