"""POST /v1/allow-once: the token for the one text that confirms a STOP, and its use."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response
from msgspec import Meta

from consent_api.domain.validation import ValidationRules, named_address
from consent_api.errors import SubmissionInvalidError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import allow_once
from consent_api.ledger.ledger import Ledger
from consent_contracts.cloudevents import rfc3339
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses

Token = Annotated[
    str,
    Meta(
        description="For allow_once of the gate's /v1/check. A secret.",
        extra_json_schema={"minLength": 1, "maxLength": 200},
    ),
]


class AllowOnceRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who has just written STOP. The address is in the body, never in a URL."""

    channel: models.Channel
    address: models.Address


class AllowOnce(msgspec.Struct, kw_only=True):
    """A token, good once, until expires_at."""

    token: Token
    expires_at: models.Time


class AllowOnceUse(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A token, and the address to which the text is about to be sent."""

    channel: models.Channel
    address_key: models.AddressKey
    token: Token


class AllowOnceUsed(msgspec.Struct, kw_only=True):
    """Send only if `permitted` is true."""

    permitted: bool


_REQUEST = msgspec.json.Decoder(AllowOnceRequest)
_USE = msgspec.json.Decoder(AllowOnceUse)
SENT = (AllowOnceRequest, AllowOnceUse)
ANSWERED = (AllowOnce, AllowOnceUsed)
_EXAMPLE = "019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18.h1.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"
EXAMPLES: dict[str, Sequence[object]] = {
    "AllowOnceRequest": ({"channel": "sms", "address": "+33 6 39 98 00 01"},),
    "AllowOnce": ({"token": _EXAMPLE, "expires_at": "2026-01-26T08:05:00Z"},),
    "AllowOnceUse": (
        {"channel": "sms", "address_key": "h1.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA", "token": _EXAMPLE},
    ),
    "AllowOnceUsed": ({"permitted": True},),
}


def routes(ledger: Ledger, rules: ValidationRules, dependencies: RequestDependencies) -> APIRouter:
    """For API keys with the scope check: who sends is who asks."""
    router = APIRouter(tags=["allow once"], route_class=dependencies.route_class)

    @router.post(
        "/v1/allow-once",
        operation_id="createAllowOnce",
        summary="A token for the one text that confirms a STOP",
        description="For five minutes after a person has written STOP, one text may confirm it. Ask the gate with the"
        " token and the purpose opt-out-confirmation before it is sent; the text has no marketing in it.",
        responses={
            200: json_response(AllowOnce, "The token, the same each time until it is used."),
            **responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(AllowOnceRequest),
    )
    def issue(
        key: Annotated[Caller, Depends(dependencies.check)],
        body: Annotated[bytes, Depends(dependencies.check_body)],
    ) -> Response:
        asked = request_body.decode(body, _REQUEST)
        try:
            canonical = named_address(asked.channel, asked.address, rules)
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-question") from None
        named = (key.tenant, asked.channel, canonical)
        found = ledger.transact(lambda c: allow_once.issue(c, ledger.context.keyring, named))
        if found is None:
            raise rendering.not_found(
                "opt-out", "Ask within five minutes of a STOP that was recorded, and once: one text confirms it."
            )
        return rendering.respond(AllowOnce(token=found.token, expires_at=rfc3339(found.expires_at)))

    @router.post(
        "/v1/allow-once/use",
        operation_id="useAllowOnce",
        summary="Use a token up",
        description="The gate calls this for a /v1/check with allow_once. Of several that present one token, one is"
        " permitted.",
        responses={
            200: json_response(AllowOnceUsed, "Whether the text may be sent now."),
            **responses(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(AllowOnceUse),
    )
    def use(
        key: Annotated[Caller, Depends(dependencies.check)],
        body: Annotated[bytes, Depends(dependencies.check_body)],
    ) -> Response:
        used = request_body.decode(body, _USE)
        permitted = ledger.transact(
            lambda c: allow_once.redeem(
                c,
                ledger.context.keyring,
                tenant=key.tenant,
                channel=used.channel,
                address_key=used.address_key,
                token=used.token,
            )
        )
        return rendering.respond(AllowOnceUsed(permitted=permitted))

    return router
