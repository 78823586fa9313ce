"""POST /v1/rights/rectifications: for API keys with the scope rights:write."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from consent_api.domain.validation import ValidationRules
from consent_api.errors import PersonUnknownError, RequestUnknownError, SubmissionInvalidError
from consent_api.http import rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.http.models import Address, AddressKey, Channel, DecisionId, SubjectRef
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.rights.rectification.rectify import read, rectify
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses


class RectificationSubmission(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The wrong address of a person, and the right one."""

    channel: Channel
    old_address: Address
    new_address: Address
    subject_ref: (
        Annotated[SubjectRef, Meta(description="Left out: what belongs to the old address itself goes alone.")] | None
    ) = None
    request_id: (
        Annotated[DecisionId, Meta(description="The person's request, which is resolved with it.")] | UnsetType
    ) = UNSET


class Rectification(Struct, kw_only=True):
    """What was done: the refusals went with the person, the permissions did not."""

    old_address_key: AddressKey
    new_address_key: AddressKey
    refusals: Annotated[int, Meta(description="That the new address has from the old one.")]


SENT = (RectificationSubmission,)
ANSWERED = (Rectification,)
EXAMPLES: dict[str, Sequence[object]] = {
    "RectificationSubmission": (
        {
            "channel": "email",
            "old_address": "somone@example.com",
            "new_address": "someone@example.com",
            "subject_ref": "customer-4711",
        },
    ),
    "Rectification": (
        {
            "old_address_key": "h1.Zk1yQ2pXc0hUb2RhNzR0RzZ1VnZxV0pLbE5PcFFSU1Q",
            "new_address_key": "h1.bGlrZVRoaXNPbmVCdXRBbm90aGVyS2V5QWx0b2dldGg",
            "refusals": 2,
        },
    ),
}
_DECODER = msgspec.json.Decoder(RectificationSubmission)


def routes(ledger: Ledger, rules: ValidationRules, dependencies: RequestDependencies) -> APIRouter:
    router = APIRouter(tags=["rights"], route_class=dependencies.route_class)

    @router.post(
        "/v1/rights/rectifications",
        operation_id="createRectification",
        summary="Correct a person's address (GDPR, article 16)",
        description="The new address has the person's refusals before its first use, and none of the permissions: a"
        " corrected typing error is no consent. What was permitted at the old one ends, what was refused there stays. A"
        " number is corrected for messages and calls, whichever channel is named.",
        responses={
            200: json_response(Rectification, "It is done, and in force with this answer."),
            **responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(RectificationSubmission),
    )
    def create(
        key: Annotated[Caller, Depends(dependencies.write_rights)],
        body: Annotated[bytes, Depends(dependencies.rights_body)],
    ) -> Response:
        sent = request_body.decode(body, _DECODER)
        try:
            asked = read(
                key.tenant,
                rules,
                channel=sent.channel,
                old=sent.old_address,
                new=sent.new_address,
                subject_ref=sent.subject_ref,
                by=key.who,
                request_id=None if sent.request_id is UNSET else UUID(sent.request_id),
            )
            done = ledger.write(Lane.LIVE, lambda c, now: rectify(c, ledger.context, asked, now=now))
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-rectification") from None
        except PersonUnknownError:
            raise rendering.not_found(
                "address of this person", "Send an address that the ledger has, and that is linked to the subject."
            ) from None
        except RequestUnknownError:
            raise rendering.not_found("request", "Use a request_id of GET /v1/rights/requests.") from None
        return rendering.respond(
            Rectification(old_address_key=done.old_key, new_address_key=done.new_key, refusals=done.refusals)
        )

    return router
