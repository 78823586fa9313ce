"""From what the ledger returns to what is answered, and from what is wrong to problems."""

from __future__ import annotations

import msgspec
from fastapi import Response

from consent_api.errors import Fault, Refused
from consent_api.ledger import history
from consent_api.ledger.links import Linked
from consent_api.ledger.replays import Recorded
from consent_contracts.cloudevents import rfc3339
from consent_contracts.verdict import Verdict
from consent_runtime.problems import Problem

from . import shapes


def json_response(answer: msgspec.Struct, *, status: int = 200) -> Response:
    """``answer`` as JSON."""
    return Response(msgspec.json.encode(answer), status_code=status, media_type="application/json")


def refusal(faults: tuple[Fault, ...], *, kind: str = "invalid-decision") -> Problem:
    """All that is wrong with what was sent, as one problem."""
    return Problem(
        422,
        kind,
        f"{len(faults)} part(s) of the request break a rule; nothing was recorded.",
        field=faults[0].pointer,
        cure=faults[0].cure,
        errors=[{"field": each.pointer, "detail": each.code, "cure": each.cure} for each in faults],
    )


def not_found(what: str, cure: str) -> Problem:
    """404, for this tenant."""
    return Problem(404, "not-found", f"There is no such {what}.", cure=cure)


def recorded(outcome: Recorded) -> shapes.Recorded:
    return shapes.Recorded(
        outcome="repeated" if outcome.repeated else "recorded",
        decision_id=outcome.decision_id,
        recorded_at=rfc3339(outcome.recorded_at),
        addresses=list(outcome.address_keys),
    )


def batch_result(outcome: Recorded | Refused, position: int) -> shapes.BatchResult:
    """The result of one decision of a batch; pointers lead from the whole body."""
    if isinstance(outcome, Refused):
        return shapes.BatchResult(
            outcome="refused",
            errors=[
                shapes.FaultShape(pointer=f"/decisions/{position}{each.pointer}", detail=each.code, cure=each.cure)
                for each in outcome.faults
            ],
        )
    return shapes.BatchResult(
        outcome="repeated" if outcome.repeated else "recorded",
        decision_id=outcome.decision_id,
        recorded_at=rfc3339(outcome.recorded_at),
        addresses=list(outcome.address_keys),
    )


def linked(found: list[Linked]) -> shapes.Addresses:
    return shapes.Addresses(
        addresses=[
            shapes.LinkedAddress(channel=each.channel, address_key=each.address_key, linked_at=rfc3339(each.linked_at))
            for each in found
        ]
    )


def state(subject_ref: str, found: history.SubjectState) -> shapes.State:
    return shapes.State(
        subject_ref=subject_ref,
        at=rfc3339(found.at),
        decisions=[decision(each) for each in found.entries],
        addresses=[
            shapes.AddressStateShape(
                channel=each.channel,
                address_key=each.address_key,
                linked_at=rfc3339(each.linked_at),
                verdicts={purpose: verdict(known) for purpose, known in each.verdicts.items()},
            )
            for each in found.addresses
        ],
    )


def explanation(channel: str, purpose: str, found: history.Explanation, *, now: int) -> shapes.ExplanationShape:
    since = found.deciding.decision.effective_at if found.deciding is not None else None
    return shapes.ExplanationShape(
        channel=channel,
        purpose=purpose,
        address_key=found.address_key,
        verdict=verdict(found.verdict),
        deciding=decision(found.deciding) if found.deciding is not None else None,
        age_seconds=(now - since) / 1_000_000 if since is not None else None,
        others=[decision(each) for each in found.others],
        receipts=[receipt(each) for each in found.receipts],
    )


def receipt(found: history.Receipt) -> shapes.ReceiptShape:
    return shapes.ReceiptShape(
        receipt_id=found.receipt_id,
        destination=found.destination,
        channel=found.channel,
        address_key=found.address_key,
        action=found.action,
        stage=found.stage,
        version=found.version,
        accepted_at=rfc3339(found.accepted_at),
        queued_at=rfc3339(found.queued_at),
        occurred_at=rfc3339(found.occurred_at),
        attempts=found.attempts,
        provider_reference=found.provider_reference,
        detail=found.detail,
    )


def decision(entry: history.Entry) -> shapes.DecisionShape:
    found = entry.decision
    return shapes.DecisionShape(
        decision_id=found.decision_id,
        subject_ref=found.subject_ref,
        channel=entry.channel,
        purpose=found.purpose,
        status=found.status,
        effective_at=rfc3339(found.effective_at),
        recorded_at=rfc3339(found.recorded_at),
        expires_at=_time(found.expires_at),
        source_system=entry.source_system,
        bulk=found.bulk,
        evidence=msgspec.convert(entry.evidence, shapes.Evidence),
        addresses=list(entry.address_keys),
    )


def verdict(found: Verdict) -> shapes.VerdictShape:
    return shapes.VerdictShape(
        permitted=found.permitted,
        reason=found.reason,
        since=_time(found.since),
        expires_at=_time(found.expires_at),
        decision_id=found.decision_id,
    )


def _time(micros: int | None) -> str | None:
    return None if micros is None else rfc3339(micros)
