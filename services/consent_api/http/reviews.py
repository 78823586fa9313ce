"""GET /v1/reviews and POST /v1/reviews/{id}: replies that are in doubt, for a person to resolve."""

from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response
from sqlalchemy import Connection

from consent_api.errors import ReviewResolvedError, ReviewTooEarlyError, ReviewUnknownError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import reviews
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.reviews import Resolution, Review
from consent_api.rights import audit
from consent_api.rights.audit import Act
from consent_contracts.join import SKEW_MICROS
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses

_RESOLUTION = msgspec.json.Decoder(models.ReviewResolution)

ReviewId = Annotated[UUID, Path(description="As the list has it.", examples=["019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18"])]


class Resolver:
    """What a person decides about a reply, for the API and the console. Thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def resolve(self, key: Caller, review_id: UUID, resolution: Resolution) -> Review:
        """Committed when this returns, with its audit entry. ProblemError, LedgerUnavailableError."""
        if resolution is Resolution.NOT_A_WITHDRAWAL and not key.may_lift:
            raise ProblemError(
                403,
                "may-not-lift-refusal",
                "What is sent with this API key lifts no refusal.",
                field="Authorization",
                cure="Use a key that was created without --no-lift.",
            )

        def work(connection: Connection, now: int) -> Review:
            found = reviews.resolve(
                connection,
                self._ledger.context,
                tenant=key.tenant,
                review_id=review_id,
                resolution=resolution,
                by=key.sender,
                now=now,
            )
            audit.add(
                connection,
                tenant=key.tenant,
                who=key.who,
                act=Act.REVIEW_RESOLVED,
                object_id=str(review_id),
                at=now,
            )
            return found

        try:
            return self._ledger.write(Lane.LIVE, work)
        except ReviewUnknownError:
            raise rendering.not_found("review", "Use a review_id of GET /v1/reviews.") from None
        except ReviewResolvedError:
            raise ProblemError(
                409,
                "review-resolved",
                "This review was resolved otherwise.",
                field="/resolution",
                cure="Record what the person says now as a decision of its own: POST /v1/decisions.",
            ) from None
        except ReviewTooEarlyError:
            raise ProblemError(
                409,
                "review-too-early",
                "The reply is only seconds old: a permission given now would not be newer.",
                cure="Send it again after Retry-After seconds.",
                headers={"Retry-After": str(SKEW_MICROS // 1_000_000 + 1)},
            ) from None


def routes(ledger: Ledger, resolver: Resolver, dependencies: RequestDependencies) -> APIRouter:
    """The routes about reviews, for API keys with the scope admin: replies are read there."""
    router = APIRouter(tags=["reviews"], route_class=dependencies.route_class)

    @router.get(
        "/v1/reviews",
        operation_id="listReviews",
        summary="Replies whose meaning is in doubt",
        description="Each has paused its address: no contact until a person has decided what it meant.",
        responses={
            200: json_response(models.Reviews, "Those that are open, the oldest first."),
            **responses(401, 403, 422, 429, 503),
        },
    )
    def listed(
        key: Annotated[Caller, Depends(dependencies.admin)],
        after: Annotated[UUID | None, Query(description="more_after of the answer before.")] = None,
    ) -> Response:
        keyring = ledger.context.keyring
        found = ledger.transact(
            lambda c: reviews.pending(
                c, keyring, tenant=key.tenant, after=str(after) if after is not None else None, most=reviews.PAGE + 1
            )
        )
        return rendering.respond(rendering.to_reviews(found, most=reviews.PAGE))

    @router.post(
        "/v1/reviews/{review_id:uuid}",
        operation_id="resolveReview",
        summary="Decide what a reply meant",
        description="withdrawal: it stays as it is. not_a_withdrawal: the permissions that it ended are given again,"
        " with their evidence and their end, unless something else forbids them.",
        responses={
            200: json_response(models.Review, "As it is resolved now."),
            **responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.ReviewResolution),
    )
    def resolve(
        review_id: ReviewId,
        key: Annotated[Caller, Depends(dependencies.admin)],
        body: Annotated[bytes, Depends(dependencies.admin_body)],
    ) -> Response:
        resolution = Resolution(request_body.decode(body, _RESOLUTION).resolution)
        return rendering.respond(rendering.to_review(resolver.resolve(key, review_id, resolution)))

    return router
