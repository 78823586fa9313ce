"""POST /v1/links: the links of up to 10,000 addresses, for the headers and the bodies of messages."""

from collections.abc import Sequence
from typing import Annotated

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Response
from msgspec import Meta

from consent_api.errors import NoLinkKeysError, SubmissionInvalidError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.links.making import ONE_CLICK_HEADER, LinkMaker, Wanted
from consent_http import problem_details, request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses

MOST_LINKS = 10_000
MOST_FAULTS = 100

Url = Annotated[str, Meta(description="A secret: it speaks for the person.", extra_json_schema={"format": "uri"})]


class LinkRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose links. With a purpose there is a one-click link, which withdraws it at that address alone."""

    channel: models.Channel
    address: models.Address
    purpose: models.Purpose | None = None
    subject_ref: (
        Annotated[models.SubjectRef, Meta(description="Left out: the preferences are those of the address.")] | None
    ) = None


class LinksRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Up to 10,000 addresses."""

    links: Annotated[list[LinkRequest], Meta(min_length=1, max_length=MOST_LINKS)]


class PersonLinks(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The links of one address, or what is wrong with it."""

    unsubscribe: Url | None = None
    list_unsubscribe: Annotated[str, Meta(description="The header List-Unsubscribe.")] | None = None
    list_unsubscribe_post: Annotated[str, Meta(description="The header List-Unsubscribe-Post.")] | None = None
    preferences: Annotated[Url, Meta(description="Left out where the tenant has no theme.")] | None = None
    errors: list[problem_details.FieldViolation] | None = None


class LinksResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One result for each address, in the order in which they were sent."""

    links: list[PersonLinks]
    faults_not_listed: Annotated[int, Meta(description="An answer lists 100 faults.")] = 0


_DECODER = msgspec.json.Decoder(LinksRequest)
SENT = (LinksRequest, LinkRequest)
ANSWERED = (LinksResponse, PersonLinks)
_ADDRESS_EXAMPLE = {"channel": "email", "address": "someone@example.com", "purpose": "promotions"}
EXAMPLES: dict[str, Sequence[object]] = {
    "LinksRequest": ({"links": [_ADDRESS_EXAMPLE]},),
    "LinksResponse": (
        {
            "links": [
                {
                    "unsubscribe": "https://choices.example.com/u/kL0sPq2",
                    "list_unsubscribe": "<https://choices.example.com/u/kL0sPq2>",
                    "list_unsubscribe_post": ONE_CLICK_HEADER,
                    "preferences": "https://choices.example.com/p/vT4xWn8",
                }
            ]
        },
    ),
}


def routes(maker: LinkMaker | None, dependencies: RequestDependencies) -> APIRouter:
    """``maker``: None where the installation has no public URL."""
    router = APIRouter(tags=["links"])
    in_turn = anyio.CapacityLimiter(1)

    @router.post(
        "/v1/links",
        operation_id="createLinks",
        summary="Make the links of up to 10,000 addresses",
        description="For each a one-click link (RFC 8058), with the two headers of a message, and a link to the"
        " preference centre. They work for years, as often as they are used, and are the same each time. The addresses"
        " need not be known. Needs the scope links: a link speaks for the person.",
        responses={
            200: json_response(LinksResponse, "One result for each address."),
            **responses(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(LinksRequest),
    )
    async def create(
        key: Annotated[Caller, Depends(dependencies.make_links)],
        body: Annotated[bytes, Depends(dependencies.links_body)],
    ) -> Response:
        if maker is None:
            raise _without_public_url()
        wanted = await anyio.to_thread.run_sync(lambda: request_body.decode(body, _DECODER).links, limiter=in_turn)
        dependencies.admit_batch(key, len(wanted), True)
        return await anyio.to_thread.run_sync(lambda: _made(maker, key.tenant, wanted), limiter=in_turn)

    return router


def _made(maker: LinkMaker, tenant: str, wanted: Sequence[LinkRequest]) -> Response:
    results: list[PersonLinks] = []
    faults = 0
    for position, each in enumerate(wanted):
        try:
            made = maker.make(
                tenant,
                Wanted(channel=each.channel, address=each.address, purpose=each.purpose, subject_ref=each.subject_ref),
            )
        except SubmissionInvalidError as error:
            room = max(MOST_FAULTS - faults, 0)
            listed = [
                problem_details.FieldViolation(
                    pointer=f"/links/{position}{fault.pointer}", detail=fault.code, cure=fault.cure
                )
                for fault in error.faults[:room]
            ]
            faults += len(error.faults)
            results.append(PersonLinks(errors=listed))
        except NoLinkKeysError:
            raise _without_link_keys() from None
        else:
            results.append(
                PersonLinks(
                    unsubscribe=made.unsubscribe,
                    list_unsubscribe=made.list_unsubscribe,
                    list_unsubscribe_post=ONE_CLICK_HEADER if made.unsubscribe is not None else None,
                    preferences=made.preferences,
                )
            )
    return rendering.respond(LinksResponse(links=results, faults_not_listed=max(faults - MOST_FAULTS, 0)))


def _without_public_url() -> ProblemError:
    return ProblemError(
        503,
        "no-public-url",
        "This installation makes no links: it does not know under which URL people reach it.",
        cure="Ask the operator to set CONSENT_RELAY_PUBLIC_URL.",
        headers={"Retry-After": "60"},
    )


def _without_link_keys() -> ProblemError:
    return ProblemError(
        503,
        "tenant-without-link-keys",
        "This installation's keyring has no link keys for the tenant of this API key.",
        cure="Ask the operator for: consent-relay keyring rotate FILE --tenant TENANT --links",
        headers={"Retry-After": "60"},
    )
