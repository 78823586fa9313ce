"""A subject's addresses, and its state now and then."""

from collections.abc import Collection
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response

from consent_api.domain.addresses import Named
from consent_api.domain.validation import LONGEST_REFERENCE, ValidationRules, named_address, rfc3339, subject_reference
from consent_api.errors import FieldViolation, SubmissionInvalidError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import database, links, queries
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses

_ADDRESSES = msgspec.json.Decoder(models.SubmittedAddresses)
_UNKNOWN_SUBJECT = "Use a subject_ref that has been sent to this API."

SubjectRef = Annotated[
    str,
    Path(
        description="Your own reference of the person, percent-encoded.",
        max_length=LONGEST_REFERENCE,
        examples=["customer-4711"],
        json_schema_extra={"pattern": models.REFERENCE},
    ),
]


def routes(ledger: Ledger, rules: ValidationRules, dependencies: RequestDependencies) -> APIRouter:
    """The routes about subjects."""
    router = APIRouter(tags=["subjects"], route_class=dependencies.route_class)
    path = "/v1/subjects/{subject_ref:path}/addresses"

    @router.put(
        path,
        operation_id="linkAddresses",
        summary="Link addresses to a subject",
        description="Each inherits what the subject refused before its first use. Linked ones stay as they are."
        " A subject or an address that has been erased is refused (erased), and nothing of it is stored.",
        responses={
            200: json_response(models.Addresses, "All that are linked now."),
            **responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.SubmittedAddresses),
    )
    def link(
        subject_ref: SubjectRef,
        key: Annotated[Caller, Depends(dependencies.submit)],
        body: Annotated[bytes, Depends(dependencies.submit_body)],
    ) -> Response:
        named = _named(body, key.tenant, rules)
        ref = _subject(subject_ref, rules, addresses=[canonical for _, _, canonical in named])
        try:
            found = ledger.write(
                Lane.LIVE,
                lambda c, now: links.link(c, ledger.context, tenant=key.tenant, subject_ref=ref, named=named, now=now),
            )
        except SubmissionInvalidError as error:
            too_many = error.faults[0].code == "too_many_addresses"
            kind = "too-many-addresses" if too_many else "erased-person"
            raise rendering.validation_problem(error.faults, kind=kind) from None
        return rendering.respond(rendering.to_linked(found))

    @router.delete(
        path,
        operation_id="unlinkAddresses",
        summary="Unlink addresses from a subject",
        description="For a number that moved on: what the subject permitted there ends, what it refused there stays.",
        responses={
            200: json_response(models.Addresses, "All that remain linked."),
            **responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.SubmittedAddresses),
    )
    def unlink(
        subject_ref: SubjectRef,
        key: Annotated[Caller, Depends(dependencies.submit)],
        body: Annotated[bytes, Depends(dependencies.submit_body)],
    ) -> Response:
        ref, named = _subject(subject_ref, rules), _named(body, key.tenant, rules)
        found = ledger.write(
            Lane.LIVE,
            lambda c, now: links.unlink(
                c, ledger.context, tenant=key.tenant, subject_ref=ref, named=named, by=key.sender, now=now
            ),
        )
        if found is None:
            raise rendering.not_found("subject", _UNKNOWN_SUBJECT)
        return rendering.respond(rendering.to_linked(found))

    @router.get(
        path,
        operation_id="listAddresses",
        summary="List a subject's addresses",
        responses={
            200: json_response(models.Addresses, "All that are linked now."),
            **responses(401, 403, 404, 422, 429, 503),
        },
    )
    def listed(subject_ref: SubjectRef, key: Annotated[Caller, Depends(dependencies.read)]) -> Response:
        ref = _subject(subject_ref, rules)
        found = ledger.transact(lambda c: links.list_links(c, ledger.context, tenant=key.tenant, subject_ref=ref))
        if found is None:
            raise rendering.not_found("subject", _UNKNOWN_SUBJECT)
        return rendering.respond(rendering.to_linked(found))

    @router.get(
        "/v1/subjects/{subject_ref:path}/state",
        operation_id="getSubjectState",
        summary="What a subject chose, as of a moment",
        description="The current decisions with their evidence, and for each address what could be done with it.",
        responses={200: json_response(models.SubjectState, "The state."), **responses(401, 403, 404, 422, 429, 503)},
    )
    def state(
        subject_ref: SubjectRef,
        key: Annotated[Caller, Depends(dependencies.read)],
        at: Annotated[
            str | None, Query(description="RFC 3339; left out: now.", json_schema_extra={"format": "date-time"})
        ] = None,
        after: Annotated[UUID | None, Query(description="more_after of the answer before.")] = None,
    ) -> Response:
        ref = _subject(subject_ref, rules)
        found = ledger.transact(
            lambda c: queries.state(
                c,
                ledger.context.keyring,
                tenant=key.tenant,
                subject_ref=ref,
                at=_moment(at, database.clock(c)),
                after=str(after) if after is not None else None,
            )
        )
        if found is None:
            raise rendering.not_found("subject", _UNKNOWN_SUBJECT)
        return rendering.respond(rendering.to_state(ref, found))

    @router.get(
        "/v1/subjects/{subject_ref:path}/history",
        operation_id="getSubjectHistory",
        summary="All that a subject has ever decided",
        description="Superseded decisions too, each with its effect now. Address by address see the state.",
        responses={200: json_response(models.SubjectHistory, "A page."), **responses(401, 403, 404, 422, 429, 503)},
    )
    def history(
        subject_ref: SubjectRef,
        key: Annotated[Caller, Depends(dependencies.read)],
        after: Annotated[UUID | None, Query(description="more_after of the answer before.")] = None,
    ) -> Response:
        ref, keyring = _subject(subject_ref, rules), ledger.context.keyring
        found = ledger.transact(lambda c: queries.history(c, keyring, tenant=key.tenant, subject_ref=ref, after=after))
        if found is None:
            raise rendering.not_found("subject", _UNKNOWN_SUBJECT)
        return rendering.respond(rendering.to_history(ref, found))

    return router


def _subject(subject_ref: str, rules: ValidationRules, *, addresses: Collection[str] = ()) -> str:
    try:
        return subject_reference(subject_ref, rules, addresses=addresses)
    except SubmissionInvalidError as error:
        raise rendering.validation_problem(error.faults, kind="invalid-subject") from None


def _named(body: bytes, tenant: str, rules: ValidationRules) -> list[Named]:
    """Every address of the body, or a problem with all that cannot be read."""
    given = request_body.decode(body, _ADDRESSES).addresses
    named: list[Named] = []
    faults: list[FieldViolation] = []
    for position, each in enumerate(given):
        try:
            canonical = named_address(each.channel, each.address, rules, within=f"/addresses/{position}")
        except SubmissionInvalidError as error:
            faults += error.faults
        else:
            named.append((tenant, each.channel, canonical))
    if faults:
        raise rendering.validation_problem(tuple(faults), kind="invalid-address")
    return named


def _moment(at: str | None, now: int) -> int:
    cure = "Send a past moment with its offset, such as 2026-03-01T09:30:00Z; encode + as %2B."
    try:
        moment = rfc3339(at)
    except ValueError:
        raise ProblemError(422, "invalid-time", "The moment cannot be read.", field="at", cure=cure) from None
    if moment is None:
        return now
    if moment > now:
        raise ProblemError(422, "invalid-time", "The moment is in the future.", field="at", cure=cure)
    return moment
