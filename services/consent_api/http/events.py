"""GET /v1/events/{event_id}: what became of an event, whichever way it came."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from consent_api.domain.validation import LONGEST_REFERENCE, ValidationRules, event_reference
from consent_api.errors import SubmissionInvalidError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import events
from consent_api.ledger.ledger import Ledger
from consent_http.callers import Caller
from consent_http.openapi import json_response
from consent_http.problem_details import responses

EventId = Annotated[
    str,
    Path(
        description="As it was submitted, percent-encoded.",
        max_length=LONGEST_REFERENCE,
        examples=["web-20260126-000017"],
    ),
]


def routes(ledger: Ledger, rules: ValidationRules, dependencies: RequestDependencies) -> APIRouter:
    """The route about events."""
    router = APIRouter(tags=["events"], route_class=dependencies.route_class)

    @router.get(
        "/v1/events/{event_id:path}",
        operation_id="getEvent",
        summary="What became of an event",
        description="For producers that submit by Kafka, and wait for no answer; events by HTTP are found too, once"
        " recorded. Refusals are kept for 30 days. 404: not read yet, unreadable, or none of this tenant.",
        responses={
            200: json_response(models.Event, "A result for each source that has used this id."),
            **responses(401, 403, 404, 422, 429, 503),
        },
    )
    def event(event_id: EventId, key: Annotated[Caller, Depends(dependencies.read)]) -> Response:
        try:
            named = event_reference(event_id, rules)
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-event") from None
        recorded, refused = ledger.transact(lambda c: events.find(c, tenant=key.tenant, event_id=named))
        if not recorded and not refused:
            raise rendering.not_found("event", "Use the event_id of a submission, and ask again once it has been read.")
        return rendering.respond(rendering.to_event(named, recorded, refused))

    return router
