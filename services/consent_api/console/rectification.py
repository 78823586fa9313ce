"""/console/requests/{id}/rectification: another address in the place of one that is wrong, as a person asked."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.console import pages
from consent_api.console.entry import Console, Submitted
from consent_api.console.requests import show
from consent_api.domain.validation import ValidationRules
from consent_api.errors import PersonUnknownError, RequestUnknownError, SubmissionInvalidError
from consent_api.ledger.lanes import Lane
from consent_api.rights import requests
from consent_api.rights.rectification.rectify import Rectification, Rectified, read, rectify
from consent_api.rights.requests import Kind, State

SCOPE = "rights:write"
ACTION = "rectify"


def routes(console: Console, rules: ValidationRules) -> APIRouter:
    """Not in /openapi.json: programs call POST /v1/rights/rectifications."""
    router = APIRouter(include_in_schema=False)

    @router.post("/console/requests/{request_id:uuid}/rectification")
    async def correct(request_id: UUID, request: Request) -> Response:
        submitted = await console.submitted(request, ACTION, SCOPE)
        if isinstance(submitted, Response):
            return submitted
        return await console.make(submitted.visit, lambda: _correct(console, rules, submitted, request_id))

    return router


def _correct(console: Console, rules: ValidationRules, submitted: Submitted, request_id: UUID) -> Response:
    visit, ledger = submitted.visit, console.ledger
    page, words = visit.page, visit.page.words

    def work(connection: Connection, now: int) -> Rectified:
        return rectify(connection, ledger.context, _asked(connection, console, rules, submitted, request_id), now=now)

    try:
        ledger.write(Lane.LIVE, work)
    except RequestUnknownError:
        return pages.fault(page, 404)
    except (SubmissionInvalidError, PersonUnknownError) as error:
        name = "invalid" if isinstance(error, SubmissionInvalidError) else "unknown"
        problems, typed = {"rectify": words(f"rectification.{name}")}, submitted.fields
        return ledger.transact(lambda c: show(console, rules, c, visit, request_id, problems=problems, typed=typed))
    console.metrics.console_acts.labels("rectified").inc()
    return pages.redirect(page, f"requests/{request_id}")


def _asked(
    connection: Connection, console: Console, rules: ValidationRules, submitted: Submitted, request_id: UUID
) -> Rectification:
    """RequestUnknownError where it is no open request for this, PersonUnknownError, SubmissionInvalidError."""
    visit, fields = submitted.visit, submitted.fields
    found = requests.find(connection, console.keyring, tenant=visit.tenant, request_id=request_id)
    if found.kind is not Kind.RECTIFICATION or found.state is not State.OPEN:
        raise RequestUnknownError
    if found.person is None:
        raise PersonUnknownError
    # Of a request about an address it is that one, whatever the form says.
    person = found.person
    return read(
        visit.tenant,
        rules,
        channel=person.channel or fields.get("channel", ""),
        old=person.address or fields.get("old", ""),
        new=fields.get("new", ""),
        subject_ref=person.subject_ref,
        by=visit.session.who,
        request_id=request_id,
    )
