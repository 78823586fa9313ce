"""Opening a request, by whichever way it comes: an objection is carried out with it."""

from __future__ import annotations

from sqlalchemy import Connection

from consent_api.domain.validation import ValidationRules, named_address, subject_reference
from consent_api.errors import FieldViolation, SubmissionInvalidError
from consent_api.ledger.lanes import Lane
from consent_api.ledger.recording import LedgerContext, record_refusals
from consent_api.rights import objection, requests
from consent_api.rights.person_ref import PersonRef
from consent_api.rights.requests import Kind, NewRequest, RightsRequest, State


def person(
    tenant: str, rules: ValidationRules, *, subject_ref: str | None, channel: str | None, address: str | None
) -> PersonRef:
    """A person as someone names them. SubmissionInvalidError."""
    if (channel is None) != (address is None):
        missing = "/channel" if channel is None else "/address"
        raise _invalid(missing, "missing", "send channel and address together")
    if subject_ref is None and address is None:
        raise _invalid("/subject_ref", "missing", "send subject_ref, or channel and address, or all three")
    canonical = named_address(channel, address, rules) if channel is not None and address is not None else None
    ref = None
    if subject_ref is not None:
        ref = subject_reference(subject_ref, rules, addresses=[canonical] if canonical is not None else [])
    return PersonRef(tenant=tenant, subject_ref=ref, channel=channel, address=canonical)


def open_request(
    connection: Connection,
    context: LedgerContext,
    rules: ValidationRules,
    new: NewRequest,
    *,
    now: int,
    also: PersonRef | None = None,
) -> RightsRequest:
    """In a transaction of the live lane. What an objection records is in force with it, and it is resolved. ``also``:
    of whom it is recorded too, while the request is not theirs to be shown.

    SubmissionInvalidError.
    """
    opened = requests.open_request(connection, context.keyring, context.ids, new, now=now)
    if new.kind is not Kind.OBJECTION:
        return opened
    persons = [new.person] if also is None else [new.person, also]
    objections = [decision for each in persons for decision in objection.decisions(each, rules, now=now)]
    recorded = record_refusals(connection, context, objections, lane=Lane.LIVE)
    faults = [fault for each in recorded if isinstance(each, SubmissionInvalidError) for fault in each.faults]
    if faults:
        raise SubmissionInvalidError(faults)
    ids = [each.decision_id for each in recorded if not isinstance(each, SubmissionInvalidError)]
    return requests.resolve(
        connection,
        context.keyring,
        tenant=opened.tenant,
        request_id=opened.id,
        state=State.DONE,
        by=new.by,
        now=now,
        certificate={"recorded": ids},
    )


def _invalid(pointer: str, code: str, cure: str) -> SubmissionInvalidError:
    return SubmissionInvalidError([FieldViolation(pointer=pointer, code=code, cure=cure)])
