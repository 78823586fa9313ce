"""POST /v1/explain: why an address is, or is not, contactable."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Response

from consent_api.domain.validation import ValidationRules, named_address
from consent_api.errors import FieldViolation, SubmissionInvalidError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.http.explain_text import explain_text
from consent_api.ledger import queries
from consent_api.ledger.ledger import Ledger
from consent_contracts.decisions import EVERY_PURPOSE
from consent_contracts.records import PURPOSE
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses
from consent_http.words import Language

_TEXT = "text/plain"
_QUESTION = msgspec.json.Decoder(models.ExplainRequest)


def routes(ledger: Ledger, rules: ValidationRules, dependencies: RequestDependencies) -> APIRouter:
    """The route that explains."""
    router = APIRouter(tags=["explain"], route_class=dependencies.route_class)

    @router.post(
        "/v1/explain",
        operation_id="explainAddress",
        summary="Why an address is, or is not, contactable",
        description="From the ledger, for people and their questions. Before sending ask the gate: it is faster."
        # Not described as a second kind of content: it would make generated clients return either.
        " With Accept: text/plain as six sentences, in French where Accept-Language begins with fr, else in English.",
        responses={
            200: json_response(models.Explanation, "The verdict and what it rests on."),
            **responses(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.ExplainRequest),
    )
    def explain(
        key: Annotated[Caller, Depends(dependencies.read)],
        body: Annotated[bytes, Depends(dependencies.read_body)],
        accept: Annotated[str, Header(include_in_schema=False)] = "",
        accept_language: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> Response:
        question = request_body.decode(body, _QUESTION)
        try:
            if question.purpose != EVERY_PURPOSE and not PURPOSE.fullmatch(question.purpose):
                cure = "send a slug of a-z, 0-9, _ and -, at most 64 characters, or *"
                raise SubmissionInvalidError([FieldViolation(pointer="/purpose", code="no_slug", cure=cure)])
            canonical = named_address(question.channel, question.address, rules)
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-question") from None
        named = (key.tenant, question.channel, canonical)
        found = ledger.transact(
            lambda c: queries.explain(
                c,
                ledger.context.keyring,
                named=named,
                purpose=question.purpose,
                after=str(question.after) if question.after is not msgspec.UNSET else None,
            )
        )
        explanation = rendering.to_explanation(question.channel, question.purpose, found)
        if not accept.strip().lower().startswith(_TEXT):
            return rendering.respond(explanation)
        language: Language = "fr" if accept_language.strip().lower().startswith("fr") else "en"
        return Response(explain_text(explanation, language), media_type=_TEXT, headers={"Content-Language": language})

    return router
