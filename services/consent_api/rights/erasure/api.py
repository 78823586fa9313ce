"""POST /v1/rights/erasures and the legal holds: for API keys with the scope rights:write."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Path, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from consent_api.domain.validation import ValidationRules, rfc3339
from consent_api.errors import (
    ErasureBegunError,
    ErasureHeldError,
    FieldViolation,
    HoldUnknownError,
    PersonUnknownError,
    RequestUnknownError,
    SubmissionInvalidError,
)
from consent_api.http import rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.http.models import Address, Channel, DecisionId, SubjectRef, Time
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.rights import opening, texts
from consent_api.rights.erasure import erasures, holds, steps
from consent_api.rights.erasure.erasures import NewErasure
from consent_api.rights.erasure.model import Certificate
from consent_api.rights.person_ref import PersonRef
from consent_contracts.cloudevents import rfc3339 as moment
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses


class ErasurePerson(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who: a subject with all addresses that are linked to it and to no other, or an address on a channel; or both,
    and then that address goes too, unless it is linked to another subject."""

    subject_ref: SubjectRef | None = None
    channel: Channel | None = None
    address: Address | None = None


class ErasureSubmission(ErasurePerson, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """With dry_run nothing is changed: the answer lists what would go and what would stay."""

    dry_run: bool = False
    request_id: (
        Annotated[
            DecisionId,
            Meta(
                description="A request that is resolved with the erasure. The person's own open ones for erasure are,"
                " too."
            ),
        ]
        | UnsetType
    ) = UNSET


class ErasedItem(Struct, kw_only=True, omit_defaults=True):
    """Something that goes."""

    what: str
    count: int | None = None
    gone_by: Annotated[Time, Meta(description="Left out: with the erasure.")] | None = None


class RetainedItem(Struct, kw_only=True, omit_defaults=True):
    """Something that stays, on which ground, and when that is to be reviewed."""

    what: str
    ground: str
    count: int | None = None
    review_at: Time | None = None


class ErasureCertificate(Struct, kw_only=True, omit_defaults=True):
    """What goes and what stays. It holds no personal data."""

    goes: list[ErasedItem]
    stays: list[RetainedItem]
    destinations: Annotated[
        dict[str, str],
        Meta(description="delivered, impossible or undelivered: what became of the objection at each tool."),
    ]


class Erasure(Struct, kw_only=True, omit_defaults=True):
    """An erasure, or with dry_run what it would do. It ends by itself, also where a tool never answers."""

    state: Annotated[
        str,
        Meta(extra_json_schema={"enum": ["dry_run", "objecting", "notifying", "erasing", "publishing", "ended"]}),
    ]
    erasure_id: DecisionId | None = None
    requested_at: Time | None = None
    tools_have_until: Annotated[Time, Meta(description="How long the tools have at most.")] | None = None
    ended_at: Time | None = None
    certificate: ErasureCertificate | None = None


class HoldSubmission(ErasurePerson, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why a person must not be erased, and until when."""

    reason: Annotated[str, Meta(description="Kept in the clear, and shown to the person: no name.")]
    until: Annotated[str, Meta(description="RFC 3339. Left out: until it is released.")] | None = None


class Hold(Struct, kw_only=True, omit_defaults=True):
    """A legal hold. Whom it is about is kept as keyed hashes alone."""

    hold_id: DecisionId
    reason: str
    set_at: Time
    set_by: str
    until: Time | None = None


class Holds(Struct, kw_only=True):
    """Those in force, the oldest first, 100 at most."""

    holds: list[Hold]


_ERASURE = msgspec.json.Decoder(ErasureSubmission)
_HOLD = msgspec.json.Decoder(HoldSubmission)
SENT = (ErasureSubmission, HoldSubmission)
ANSWERED = (Erasure, ErasureCertificate, ErasedItem, RetainedItem, Hold, Holds)
_ID = "019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18"
_HELD = {
    "hold_id": _ID,
    "reason": "dispute 2026-118",
    "set_at": "2026-01-31T10:00:00.000000Z",
    "set_by": "key:4f1c2b7a90de",
}
EXAMPLES: dict[str, Sequence[object]] = {
    "ErasureSubmission": ({"subject_ref": "customer-4711", "dry_run": True},),
    "Erasure": (
        {
            "state": "notifying",
            "erasure_id": _ID,
            "requested_at": "2026-01-31T10:00:00.000000Z",
            "tools_have_until": "2026-02-01T10:00:00.000000Z",
        },
    ),
    "HoldSubmission": ({"subject_ref": "customer-4711", "reason": "dispute 2026-118"},),
    "Hold": (_HELD,),
    "Holds": ({"holds": [_HELD]},),
}
ErasureId = Annotated[UUID, Path(description="As the answer to its submission has it.", examples=[_ID])]
HoldId = Annotated[UUID, Path(description="As the list has it.", examples=[_ID])]


def routes(
    ledger: Ledger, rules: ValidationRules, dependencies: RequestDependencies, *, notify_seconds: int
) -> APIRouter:
    """``notify_seconds``: how long the tools have to take the objection, before the address goes."""
    router = APIRouter(tags=["rights"], route_class=dependencies.route_class)

    @router.post(
        "/v1/rights/erasures",
        operation_id="createErasure",
        summary="Erase a person (GDPR, article 17)",
        description="Refuses everything at once, informs the tools, then erases: GET the erasure until it has ended."
        " The same again answers with the same erasure, so it needs no Idempotency-Key. A keyed hash with the objection"
        " stays, so that no import brings the person back.",
        responses={
            200: json_response(Erasure, "With dry_run: what would go and what would stay."),
            202: json_response(Erasure, "It is in progress, or has ended."),
            **responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(ErasureSubmission),
    )
    def erase(
        key: Annotated[Caller, Depends(dependencies.write_rights)],
        body: Annotated[bytes, Depends(dependencies.rights_body)],
    ) -> Response:
        sent = request_body.decode(body, _ERASURE)
        who = _person(key, rules, sent)
        try:
            if sent.dry_run:
                now = ledger.now()
                found = ledger.transact(lambda c: erasures.preview(c, ledger.context.keyring, who, now=now))
                return rendering.respond(Erasure(state="dry_run", certificate=_certificate(found)))
            new = NewErasure(
                person=who,
                by=key.who,
                request_id=None if sent.request_id is UNSET else UUID(sent.request_id),
                notify_seconds=notify_seconds,
            )
            begun = ledger.write(Lane.LIVE, lambda c, now: steps.begin(c, ledger.context, new, now=now))
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-erasure") from None
        except PersonUnknownError:
            raise rendering.not_found("person", "Nothing is known of them: there is nothing to erase.") from None
        except RequestUnknownError:
            raise rendering.not_found("request", "Use a request_id of GET /v1/rights/requests.") from None
        except ErasureHeldError as error:
            raise _held(error) from None
        return rendering.respond(_erasure(begun), status=202)

    @router.get(
        "/v1/rights/erasures/{erasure_id:uuid}",
        operation_id="getErasure",
        summary="How far an erasure is, and its certificate",
        responses={
            200: json_response(Erasure, "As it is now."),
            **responses(401, 403, 404, 422, 429, 503),
        },
    )
    def one(erasure_id: ErasureId, key: Annotated[Caller, Depends(dependencies.read_rights)]) -> Response:
        try:
            found = ledger.transact(lambda c: erasures.find(c, tenant=key.tenant, erasure_id=erasure_id))
        except PersonUnknownError:
            raise rendering.not_found("erasure", "Use the erasure_id of the answer to its submission.") from None
        return rendering.respond(_erasure(found))

    @router.post(
        "/v1/rights/holds",
        operation_id="createHold",
        summary="Hold a person's data (GDPR, article 17(3)(e))",
        description="A person who is held is not erased: the erasure is refused with this reason. An erasure that has"
        " begun is not stopped by a hold: the hold is refused then.",
        status_code=201,
        responses={
            201: json_response(Hold, "It is in force."),
            **responses(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(HoldSubmission),
    )
    def set_hold(
        key: Annotated[Caller, Depends(dependencies.write_rights)],
        body: Annotated[bytes, Depends(dependencies.rights_body)],
    ) -> Response:
        sent = request_body.decode(body, _HOLD)
        who = _person(key, rules, sent)
        context = ledger.context
        try:
            reason = texts.required("/reason", sent.reason, region=rules.default_region)
            until = _until(sent.until)
            held = ledger.write(
                Lane.LIVE,
                lambda c, now: holds.add(
                    c, context.keyring, context.ids, who, reason=reason, until=until, by=key.who, now=now
                ),
            )
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-hold") from None
        except ErasureBegunError as error:
            raise ProblemError(
                409,
                "erasure-begun",
                f"An erasure of this person began on {moment(error.begun_at)}: it cannot be held any more.",
                cure="Report that to the person who asked for it. What is kept, and why, is in the certificate.",
            ) from None
        return rendering.respond(_hold(held), status=201)

    @router.get(
        "/v1/rights/holds",
        operation_id="listHolds",
        summary="The legal holds in force",
        responses={200: json_response(Holds, "The oldest first."), **responses(401, 403, 422, 429, 503)},
    )
    def listed(key: Annotated[Caller, Depends(dependencies.read_rights)]) -> Response:
        now = ledger.now()
        found = ledger.transact(lambda c: holds.in_force(c, tenant=key.tenant, now=now))
        return rendering.respond(Holds(holds=[_hold(each) for each in found]))

    @router.delete(
        "/v1/rights/holds/{hold_id:uuid}",
        operation_id="resolveHold",
        summary="Release a legal hold",
        responses={200: json_response(Hold, "It is released."), **responses(401, 403, 404, 422, 429, 503)},
    )
    def release(hold_id: HoldId, key: Annotated[Caller, Depends(dependencies.write_rights)]) -> Response:
        try:
            released = ledger.write(
                Lane.LIVE,
                lambda c, now: holds.release(c, tenant=key.tenant, hold_id=hold_id, by=key.who, now=now),
            )
        except HoldUnknownError:
            raise rendering.not_found("hold", "Use a hold_id of GET /v1/rights/holds.") from None
        return rendering.respond(_hold(released))

    return router


def _person(key: Caller, rules: ValidationRules, sent: ErasurePerson) -> PersonRef:
    try:
        return opening.person(
            key.tenant, rules, subject_ref=sent.subject_ref, channel=sent.channel, address=sent.address
        )
    except SubmissionInvalidError as error:
        raise rendering.validation_problem(error.faults, kind="invalid-person") from None


def _until(text: str | None) -> int | None:
    try:
        return rfc3339(text)
    except ValueError as error:
        raise SubmissionInvalidError([FieldViolation(pointer="/until", code="no_time", cure=str(error))]) from None


def _held(error: ErasureHeldError) -> ProblemError:
    until = f" until {moment(error.until)}" if error.until is not None else ""
    return ProblemError(
        409,
        "legal-hold",
        f"A legal hold is in force{until}: {error.reason}",
        cure="Inform the person why (GDPR, article 12(4)), or release the hold: DELETE /v1/rights/holds/{hold_id}.",
    )


def _erasure(found: erasures.Erasure) -> Erasure:
    return Erasure(
        state=found.state.value,
        erasure_id=found.erasure_id,
        requested_at=moment(found.requested_at),
        tools_have_until=moment(found.notify_until),
        ended_at=_moment(found.ended_at),
        certificate=_certificate(found.certificate) if found.certificate is not None else None,
    )


def _certificate(found: Certificate) -> ErasureCertificate:
    return ErasureCertificate(
        goes=[ErasedItem(what=each.what, count=each.count, gone_by=_moment(each.gone_by)) for each in found.goes],
        stays=[
            RetainedItem(what=each.what, ground=each.ground, count=each.count, review_at=_moment(each.review_at))
            for each in found.stays
        ],
        destinations={name: delivered.value for name, delivered in found.destinations.items()},
    )


def _hold(found: holds.Hold) -> Hold:
    return Hold(
        hold_id=found.hold_id,
        reason=found.reason,
        set_at=moment(found.set_at),
        set_by=found.set_by,
        until=_moment(found.until),
    )


def _moment(micros: int | None) -> str | None:
    return None if micros is None else moment(micros)
