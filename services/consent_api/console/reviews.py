"""/console/reviews: replies in doubt, for a person to decide what they meant."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.console import pages, rows
from consent_api.console.entry import Console, Visit
from consent_api.http.reviews import Resolver
from consent_api.ledger import reviews
from consent_api.ledger.reviews import Resolution
from consent_api.rights.audit import Act

SCOPE = "admin"
ACTION = "review"


def routes(console: Console, resolver: Resolver) -> APIRouter:
    """Not in /openapi.json: programs call /v1/reviews."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/console/reviews", methods=["GET", "HEAD"])
    async def listed(request: Request) -> Response:
        visit = await console.enter(request, SCOPE)
        if isinstance(visit, Response):
            return visit
        return await console.make(visit, lambda: console.ledger.transact(lambda c: _page(c, console, visit)))

    @router.post("/console/reviews/{review_id:uuid}")
    async def resolve(review_id: UUID, request: Request) -> Response:
        submitted = await console.submitted(request, ACTION, SCOPE)
        if isinstance(submitted, Response):
            return submitted
        visit, wanted = submitted.visit, submitted.fields.get("resolution")
        if wanted not in tuple(Resolution):
            return pages.fault(visit.page, 403)

        def work() -> Response:
            resolver.resolve(visit.session.key, review_id, Resolution(wanted))
            console.metrics.console_acts.labels(Act.REVIEW_RESOLVED.value).inc()
            return pages.redirect(visit.page, "reviews")

        return await console.make(visit, work)

    return router


def _page(connection: Connection, console: Console, visit: Visit) -> Response:
    found = reviews.pending(connection, console.keyring, tenant=visit.tenant, most=reviews.PAGE + 1)
    page, words = visit.page, visit.page.words
    return pages.respond(
        page,
        "reviews.html",
        reviews=[
            {
                "id": each.review_id,
                "reply": each.reply,
                "channel": rows.channel_title(page, each.channel),
                "source": each.source,
                "since": words.moment(each.received_at),
                "decisions": each.decision_ids,
            }
            for each in found[: reviews.PAGE]
        ],
        more=len(found) > reviews.PAGE,
        may_lift=visit.session.key.may_lift,
    )
