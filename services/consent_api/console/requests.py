"""/console/requests: what persons ask for by right, by due date; opened on the page of the person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

import anyio
from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.console import pages, reading, rows, sessions
from consent_api.console.entry import Console, Submitted, Visit
from consent_api.console.pages import Page
from consent_api.domain.validation import ValidationRules
from consent_api.errors import (
    RequestExtensionError,
    RequestResolvedError,
    RequestUnknownError,
    SubmissionInvalidError,
)
from consent_api.ledger import database
from consent_api.ledger.lanes import Lane
from consent_api.rights import exporting, opening, requests, texts
from consent_api.rights.api import stream
from consent_api.rights.erasure import model
from consent_api.rights.exporting import Format
from consent_api.rights.requests import Identity, Kind, NewRequest, RightsRequest, State

READ, WRITE = "rights:read", "rights:write"
OPEN, RESOLVE, EXPORT = "open-request", "resolve-request", "export-data"
_EXPORTED = (Kind.ACCESS, Kind.PORTABILITY)
_EXPORTS_AT_ONCE = 2


def routes(console: Console, rules: ValidationRules) -> APIRouter:
    """Not in /openapi.json: programs call /v1/rights."""
    router = APIRouter(include_in_schema=False)
    acts = _Acts(console, rules)

    @router.api_route("/console/requests", methods=["GET", "HEAD"])
    async def listed(request: Request) -> Response:
        visit = await console.enter(request, READ)
        if isinstance(visit, Response):
            return visit
        after = request.query_params.get("after")
        return await console.make(visit, lambda: console.ledger.transact(lambda c: acts.listed(c, visit, after)))

    @router.api_route("/console/requests/{request_id:uuid}", methods=["GET", "HEAD"])
    async def one(request_id: UUID, request: Request) -> Response:
        visit = await console.enter(request, READ)
        if isinstance(visit, Response):
            return visit
        return await console.make(visit, lambda: console.ledger.transact(lambda c: acts.one(c, visit, request_id)))

    @router.post("/console/requests/{request_id:uuid}")
    async def resolve(request_id: UUID, request: Request) -> Response:
        submitted = await console.submitted(request, RESOLVE, WRITE)
        if isinstance(submitted, Response):
            return submitted
        return await console.make(submitted.visit, lambda: acts.resolve(submitted, request_id))

    @router.post("/console/requests/{request_id:uuid}/data")
    async def export(request_id: UUID, request: Request) -> Response:
        submitted = await console.submitted(request, EXPORT, WRITE)
        if isinstance(submitted, Response):
            return submitted
        return await console.make(submitted.visit, lambda: acts.export(submitted, request_id))

    @router.post("/console/person/{page_id}/requests")
    async def begin(page_id: str, request: Request) -> Response:
        submitted = await console.submitted(request, OPEN, WRITE)
        if isinstance(submitted, Response):
            return submitted
        return await console.make(submitted.visit, lambda: acts.begin(submitted, page_id))

    return router


class _Acts:
    """Each blocks."""

    def __init__(self, console: Console, rules: ValidationRules) -> None:
        self._console = console
        self._rules = rules
        self._exports = anyio.CapacityLimiter(_EXPORTS_AT_ONCE)

    def listed(self, connection: Connection, visit: Visit, after: str | None) -> Response:
        now = database.clock(connection)
        try:
            found = requests.listed(
                connection, self._console.keyring, tenant=visit.tenant, after=after, most=requests.PAGE + 1
            )
        except ValueError:
            return pages.fault(visit.page, 404)
        shown = found[: requests.PAGE]
        return pages.respond(
            visit.page,
            "requests.html",
            requests=[rows.request(visit.page, each, now=now) for each in shown],
            more=shown[-1].position if len(found) > requests.PAGE else None,
        )

    def one(
        self, connection: Connection, visit: Visit, request_id: UUID, *, problem: str | None = None, text: str = ""
    ) -> Response:
        problems = {"resolve": problem} if problem is not None else {}
        return show(self._console, self._rules, connection, visit, request_id, problems=problems, typed={"text": text})

    def begin(self, submitted: Submitted, page_id: str) -> Response:
        visit, fields, ledger = submitted.visit, submitted.fields, self._console.ledger
        page = visit.page
        kind = fields.get("kind")
        subject = sessions.unseal(self._console.keyring, visit.session.token, page_id, now=ledger.now())
        if subject is None or kind not in tuple(Kind):
            return pages.fault(page, 404)
        try:
            note = texts.required("/note", fields.get("note"), region=self._rules.default_region)
        except SubmissionInvalidError:
            return pages.respond(
                page,
                "fault.html",
                status=422,
                title=page.words("wrong.text_title"),
                text=page.words("wrong.text"),
            )
        new = NewRequest(
            person=reading.person_ref(visit.tenant, subject),
            kind=Kind(kind),
            identity=Identity.OPERATOR,
            identity_note=note,
            by=visit.session.who,
        )

        # An objection is recorded with its request.
        opened = ledger.write(
            Lane.LIVE, lambda c, now: opening.open_request(c, ledger.context, self._rules, new, now=now)
        )
        self._console.metrics.console_acts.labels("request_opened").inc()
        return pages.redirect(page, f"requests/{opened.request_id}")

    def export(self, submitted: Submitted, request_id: UUID) -> Response:
        """All that is held about the person of a request, as a file. It is in the audit."""
        visit, ledger = submitted.visit, self._console.ledger
        page, wanted = visit.page, submitted.fields.get("format")
        try:
            found = ledger.transact(
                lambda c: requests.find(c, self._console.keyring, tenant=visit.tenant, request_id=request_id)
            )
        except RequestUnknownError:
            return pages.fault(page, 404)
        if found.person is None or wanted not in tuple(Format):
            return pages.fault(page, 404)
        file = exporting.export(
            ledger,
            found.person,
            page.theme,
            format=Format(wanted),
            language=page.language,
            who=visit.session.who,
            request_id=found.request_id,
        )
        self._console.metrics.console_acts.labels("data_exported").inc()
        return stream(file, page.theme, page.language, limiter=self._exports)

    def resolve(self, submitted: Submitted, request_id: UUID) -> Response:
        visit, fields, ledger = submitted.visit, submitted.fields, self._console.ledger
        page, text = visit.page, fields.get("text", "")
        try:
            work = self._work(visit, fields, request_id)
            ledger.transact(lambda c: work(c, database.clock(c)))
        except (SubmissionInvalidError, RequestExtensionError):
            why = page.words("wrong.text" if fields.get("action") != "extend" else "wrong.extension")
            return ledger.transact(lambda c: self.one(c, visit, request_id, problem=why, text=text))
        except RequestUnknownError:
            return pages.fault(page, 404)
        except RequestResolvedError:
            return pages.fault(page, 409)
        self._console.metrics.console_acts.labels("request_resolved").inc()
        return pages.redirect(page, f"requests/{request_id}")

    def _work(
        self, visit: Visit, fields: Mapping[str, str], request_id: UUID
    ) -> Callable[[Connection, int], RightsRequest]:
        """SubmissionInvalidError where the text is missing, or holds an address."""
        keyring, tenant, who = self._console.keyring, visit.tenant, visit.session.who
        read = texts.plain if fields.get("action") == "done" else texts.required
        reason = read("/text", fields.get("text"), region=self._rules.default_region)
        if fields.get("action") == "extend":
            return lambda c, now: requests.extend(
                c, keyring, tenant=tenant, request_id=request_id, reason=reason or "", by=who, now=now
            )
        state = State.DONE if fields.get("action") == "done" else State.REFUSED
        return lambda c, now: requests.resolve(
            c, keyring, tenant=tenant, request_id=request_id, state=state, by=who, now=now, reason=reason
        )


def show(
    console: Console,
    rules: ValidationRules,
    connection: Connection,
    visit: Visit,
    request_id: UUID,
    *,
    problems: Mapping[str, str],
    typed: Mapping[str, str],
) -> Response:
    """The page of a request. ``problems``: what is wrong with a form that it answers, by its name, resolve or rectify;
    ``typed``: what its fields held."""
    now = database.clock(connection)
    try:
        found = requests.find(connection, console.keyring, tenant=visit.tenant, request_id=request_id)
    except RequestUnknownError:
        return pages.fault(visit.page, 404)
    return pages.respond(
        visit.page,
        "request.html",
        status=422 if problems else 200,
        request=rows.request(visit.page, found, now=now),
        person_id=_person_id(console, visit, found, now=now) if visit.session.key.allows("read") else None,
        may_write=visit.session.key.allows(WRITE),
        may_export=found.person is not None and found.kind in _EXPORTED and visit.session.key.allows(WRITE),
        may_erase=_waits_for(found, Kind.ERASURE) and visit.session.key.allows(WRITE),
        may_rectify=_waits_for(found, Kind.RECTIFICATION) and visit.session.key.allows(WRITE),
        old=reading.written(found.person.address) if found.person is not None and found.person.address else None,
        channels=[(each, rows.channel_title(visit.page, each)) for each in rules.channels],
        certificate=_certificate(visit.page, found),
        problems=problems,
        typed=typed,
    )


def _person_id(console: Console, visit: Visit, found: RightsRequest, *, now: int) -> str | None:
    """The id of the page about the person, unless an erasure has forgotten them."""
    person = found.person
    if person is None:
        return None
    channels = (person.channel,) if person.channel is not None else ()
    subject = sessions.Subject(subject_ref=person.subject_ref, address=person.address, channels=channels)
    return sessions.seal(console.keyring, visit.session.token, subject, now=now)


def _certificate(page: Page, found: RightsRequest) -> rows.CertificateRows | None:
    """Of a request that an erasure has carried out."""
    if found.erasure_id is None or found.certificate is None:
        return None
    return rows.certificate(page, model.from_json(found.certificate))


def _waits_for(found: RightsRequest, kind: Kind) -> bool:
    """Whether it can be carried out here: it is open, the person is known, and no erasure carries it out already."""
    return found.kind is kind and found.state is State.OPEN and found.person is not None and not found.is_erasing
