"""/console/requests/{id}/erasure: what an erasure would take and leave, to confirm; then it begins."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.console import pages, rows
from consent_api.console.entry import Console, Visit
from consent_api.console.pages import Page
from consent_api.errors import ErasureHeldError, PersonUnknownError, RequestUnknownError
from consent_api.ledger import database
from consent_api.ledger.lanes import Lane
from consent_api.rights import requests
from consent_api.rights.erasure import erasures, steps
from consent_api.rights.erasure.erasures import NewErasure
from consent_api.rights.person_ref import PersonRef
from consent_api.rights.requests import Kind, State

SCOPE = "rights:write"
ACTION = "erase"


def routes(console: Console, *, notify_seconds: int) -> APIRouter:
    """Not in /openapi.json: programs call POST /v1/rights/erasures. ``notify_seconds``: how long the tools have."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/console/requests/{request_id:uuid}/erasure", methods=["GET", "HEAD"])
    async def preview(request_id: UUID, request: Request) -> Response:
        visit = await console.enter(request, SCOPE)
        if isinstance(visit, Response):
            return visit
        return await console.make(visit, lambda: _preview(console, visit, request_id))

    @router.post("/console/requests/{request_id:uuid}/erasure")
    async def begin(request_id: UUID, request: Request) -> Response:
        submitted = await console.submitted(request, ACTION, SCOPE)
        if isinstance(submitted, Response):
            return submitted
        visit = submitted.visit
        return await console.make(visit, lambda: _begin(console, visit, request_id, notify_seconds))

    return router


def _preview(console: Console, visit: Visit, request_id: UUID) -> Response:
    def work(connection: Connection) -> Response:
        person = _person(connection, console, visit, request_id)
        now = database.clock(connection)
        found = erasures.preview(connection, console.keyring, person, now=now)
        return pages.respond(
            visit.page,
            "erasure.html",
            request_id=str(request_id),
            found=rows.certificate(visit.page, found),
        )

    try:
        return console.ledger.transact(work)
    except (RequestUnknownError, PersonUnknownError, ErasureHeldError) as error:
        return _refused(visit.page, error)


def _begin(console: Console, visit: Visit, request_id: UUID, notify_seconds: int) -> Response:
    ledger = console.ledger

    def work(connection: Connection, now: int) -> None:
        person = _person(connection, console, visit, request_id)
        new = NewErasure(person=person, by=visit.session.who, request_id=request_id, notify_seconds=notify_seconds)
        steps.begin(connection, ledger.context, new, now=now)

    try:
        ledger.write(Lane.LIVE, work)
    except (RequestUnknownError, PersonUnknownError, ErasureHeldError) as error:
        return _refused(visit.page, error)
    console.metrics.console_acts.labels("erasure_begun").inc()
    return pages.respond(visit.page, "erasing.html", request_id=str(request_id))


def _person(connection: Connection, console: Console, visit: Visit, request_id: UUID) -> PersonRef:
    """Whom an open request for erasure is about. RequestUnknownError where it is none, PersonUnknownError."""
    found = requests.find(connection, console.keyring, tenant=visit.tenant, request_id=request_id)
    if found.kind is not Kind.ERASURE or found.state is not State.OPEN:
        raise RequestUnknownError
    if found.person is None:
        raise PersonUnknownError
    return found.person


def _refused(page: Page, error: Exception) -> Response:
    """A hold, or nothing to erase. The request stays open: a person has to answer it."""
    words = page.words
    if isinstance(error, RequestUnknownError):
        return pages.fault(page, 404)
    if isinstance(error, ErasureHeldError):
        until = words.day(error.until) if error.until is not None else words("erasure.until_released")
        text = words("erasure.held", reason=error.reason, until=until)
        return pages.respond(page, "fault.html", status=409, title=words("erasure.held_title"), text=text)
    return pages.respond(
        page, "fault.html", status=404, title=words("erasure.unknown_title"), text=words("erasure.unknown")
    )
