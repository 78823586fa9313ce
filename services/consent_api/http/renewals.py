"""GET /v1/renewals: the permissions that are about to end, for a tenant to ask for again (R37)."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from msgspec import Meta, Struct

from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import database, renewals
from consent_api.ledger.ledger import Ledger
from consent_contracts.cloudevents import rfc3339
from consent_http.callers import Caller
from consent_http.openapi import json_response
from consent_http.problem_details import responses

_AFTER = r"^[0-9]{1,18}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class Renewal(Struct, kw_only=True, omit_defaults=True):
    """A permission that ends soon. It ends unless the person gives it again."""

    decision_id: models.DecisionId
    channel: models.Channel
    purpose: models.Purpose
    address_key: models.AddressKey
    given_at: models.Time
    expires_at: models.Time
    asked_at: Annotated[models.Time, Meta(description="Since when it is in this list.")]
    subject_ref: models.SubjectRef | None = None


class Renewals(Struct, kw_only=True, omit_defaults=True):
    """A page, the nearest end first. It may be short, and more may follow all the same."""

    renewals: list[Renewal]
    more_after: Annotated[str, Meta(description="There are more: send it as after.")] | None = None


SENT: tuple[type, ...] = ()
ANSWERED = (Renewals, Renewal)
EXAMPLES: dict[str, Sequence[object]] = {
    "Renewals": (
        {
            "renewals": [
                {
                    "decision_id": "019ac2f0-11a4-7b3e-8c07-2d94e1b60f5a",
                    "channel": "email",
                    "purpose": "newsletter",
                    "address_key": "h1.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA",
                    "given_at": "2026-01-26T08:00:00.000000Z",
                    "expires_at": "2027-01-26T08:00:00.000000Z",
                    "asked_at": "2026-12-27T08:00:12.000000Z",
                    "subject_ref": "customer-4711",
                }
            ]
        },
    ),
}


def routes(ledger: Ledger, dependencies: RequestDependencies) -> APIRouter:
    router = APIRouter(tags=["renewals"], route_class=dependencies.route_class)

    @router.get(
        "/v1/renewals",
        operation_id="listRenewals",
        summary="Permissions that end soon, to be asked for again",
        description="Those in force now. Each is also once on the topic consent.renewals.v1. Nothing is renewed by"
        " itself; one that the person gives again, or refuses, leaves the list.",
        responses={200: json_response(Renewals, "A page of them."), **responses(401, 403, 422, 429, 503)},
    )
    def listed(
        key: Annotated[Caller, Depends(dependencies.read)],
        after: Annotated[
            str | None, Query(description="more_after of the answer before.", max_length=60, pattern=_AFTER)
        ] = None,
    ) -> Response:
        moment, _, decision_id = (after or "").partition("/")
        place = (int(moment), decision_id) if after is not None else None
        found, more = ledger.transact(
            lambda c: renewals.listed(c, key.tenant, now=database.clock(c), after=place, most=renewals.PAGE)
        )
        return rendering.respond(
            Renewals(
                renewals=[_shown(each) for each in found],
                more_after=f"{more[0]}/{more[1]}" if more is not None else None,
            )
        )

    return router


def _shown(each: renewals.Renewal) -> Renewal:
    return Renewal(
        decision_id=each.decision_id,
        channel=each.channel,
        purpose=each.purpose,
        address_key=each.address_key,
        given_at=rfc3339(each.given_at),
        expires_at=rfc3339(each.expires_at),
        asked_at=rfc3339(each.asked_at),
        subject_ref=each.subject_ref,
    )
