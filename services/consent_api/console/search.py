"""/console/: whom someone searches for, and all that is known of them. No URL holds an address or a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.console import pages, reading, rows, sessions
from consent_api.console.entry import Console, Visit
from consent_api.console.reading import AddressFound
from consent_api.console.sessions import Subject
from consent_api.domain.validation import ValidationRules
from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import database
from consent_api.rights import audit, requests
from consent_api.rights.audit import Act

SCOPE = "read"
ACTION = "search"
_LONGEST_QUERY = 500
MOST_IN_ANSWER = 10
"""Addresses of a person."""

Making = Callable[[Connection, Visit, Subject, str], Response | None]


def routes(console: Console, rules: ValidationRules) -> APIRouter:
    """Not in /openapi.json: people call it."""
    router = APIRouter(include_in_schema=False)
    about = _About(console)

    @router.api_route("/console", methods=["GET", "HEAD"])
    async def without_slash() -> Response:
        return Response(status_code=307, headers={"Location": "console/"})

    @router.api_route("/console/", methods=["GET", "HEAD"])
    async def ask(request: Request) -> Response:
        visit = await console.enter(request, SCOPE)
        return visit if isinstance(visit, Response) else _form(visit)

    @router.post("/console/search")
    async def search(request: Request) -> Response:
        submitted = await console.submitted(request, ACTION, SCOPE)
        if isinstance(submitted, Response):
            return submitted
        visit, query = submitted.visit, submitted.fields.get("query", "").strip()[:_LONGEST_QUERY]
        try:
            found = await console.read(lambda c: about.find(c, visit, query, rules))
        except LedgerUnavailableError as error:
            return console.unavailable(visit, error)
        return pages.redirect(visit.page, f"person/{found}") if found is not None else _form(visit, query=query)

    @router.api_route("/console/person/{page_id}", methods=["GET", "HEAD"])
    async def person(page_id: str, request: Request) -> Response:
        visit = await console.enter(request, SCOPE)
        return visit if isinstance(visit, Response) else await about.show(visit, page_id)

    @router.api_route("/console/person/{page_id}/answer", methods=["GET", "HEAD"])
    async def answer(page_id: str, request: Request) -> Response:
        visit = await console.enter(request, SCOPE)
        return visit if isinstance(visit, Response) else await about.answer(visit, page_id)

    return router


class _About:
    """Pages about one person or address."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def find(self, connection: Connection, visit: Visit, query: str, rules: ValidationRules) -> str | None:
        """The id of the page about whom someone searches for."""
        found = reading.find(connection, self._console.keyring, rules, visit.tenant, query)
        return self._page_id(visit, found, now=database.clock(connection)) if found is not None else None

    async def show(self, visit: Visit, page_id: str) -> Response:
        """Who it is, what holds, what was decided, and which tool knows it."""
        return await self._made(visit, page_id, Act.PERSON_VIEWED, self._person, self._address)

    async def answer(self, visit: Visit, page_id: str) -> Response:
        """The answer under article 19, to print."""
        return await self._made(visit, page_id, Act.ANSWER_PRINTED, self._person_answer, self._address_answer)

    async def _made(self, visit: Visit, page_id: str, act: Act, of_person: Making, of_address: Making) -> Response:
        def make() -> Response:
            return self._console.ledger.transact(lambda c: self._page(c, visit, page_id, act, of_person, of_address))

        shown = await self._console.make(visit, make)
        if shown.status_code == 200:
            self._console.metrics.console_acts.labels(act.value).inc()
        return shown

    def _page(
        self, connection: Connection, visit: Visit, page_id: str, act: Act, of_person: Making, of_address: Making
    ) -> Response:
        keyring, now = self._console.keyring, database.clock(connection)
        subject = sessions.unseal(keyring, visit.session.token, page_id, now=now)
        if subject is None:
            return pages.fault(visit.page, 404)
        shown = (of_person if subject.subject_ref is not None else of_address)(connection, visit, subject, page_id)
        if shown is None:
            return pages.fault(visit.page, 404)
        who = reading.person_ref(visit.tenant, subject).keys(keyring)[0]
        audit.add(connection, tenant=visit.tenant, who=visit.session.who, act=act, object_id=who, at=now)
        return shown

    def _person(self, connection: Connection, visit: Visit, subject: Subject, page_id: str) -> Response | None:
        assert subject.subject_ref is not None
        keyring, page = self._console.keyring, visit.page
        found = reading.of_person(connection, keyring, visit.tenant, subject.subject_ref)
        if found is None:
            return None
        cards = []
        for each in found.state.addresses:
            address = found.addresses.get(each.address_key)
            leads_to = Subject(address=address, channels=(each.channel,)) if address is not None else None
            own_id = self._page_id(visit, leads_to, now=found.state.at) if leads_to is not None else None
            cards.append(rows.of_state(page, each, address, own_id))
        return pages.respond(
            page,
            "person.html",
            heading=subject.subject_ref,
            is_address=False,
            cards=cards,
            persons=[],
            decisions=[rows.decision(page, entry, outcome.effect) for entry, outcome in found.history],
            more=found.more,
            at=page.words.moment(found.state.at),
            requests=self._requests(connection, visit, subject),
            page_id=page_id,
        )

    def _address(self, connection: Connection, visit: Visit, subject: Subject, page_id: str) -> Response | None:
        assert subject.address is not None
        page, now = visit.page, database.clock(connection)
        found = self._found(connection, visit, subject)
        persons = [(each, self._page_id(visit, Subject(subject_ref=each), now=now)) for each in found.persons]
        return pages.respond(
            page,
            "person.html",
            heading=reading.written(subject.address),
            is_address=True,
            cards=self._cards(visit, subject, found),
            persons=persons,
            decisions=[],
            more=False,
            at=page.words.moment(now),
            requests=self._requests(connection, visit, subject),
            page_id=page_id,
        )

    def _person_answer(self, connection: Connection, visit: Visit, subject: Subject, page_id: str) -> Response | None:
        assert subject.subject_ref is not None
        found = reading.of_person(connection, self._console.keyring, visit.tenant, subject.subject_ref)
        if found is None:
            return None
        cards: list[rows.Card] = []
        for each in found.state.addresses[:MOST_IN_ANSWER]:
            address = found.addresses.get(each.address_key)
            if address is not None:
                own = Subject(address=address, channels=(each.channel,))
                cards += self._cards(visit, own, self._found(connection, visit, own))
        return self._answer(
            connection, visit, subject.subject_ref, cards, page_id, addresses=len(found.state.addresses)
        )

    def _address_answer(self, connection: Connection, visit: Visit, subject: Subject, page_id: str) -> Response | None:
        assert subject.address is not None
        cards = self._cards(visit, subject, self._found(connection, visit, subject))
        return self._answer(connection, visit, reading.written(subject.address), cards, page_id)

    def _answer(
        self,
        connection: Connection,
        visit: Visit,
        whom: str,
        cards: Sequence[rows.Card],
        page_id: str,
        *,
        addresses: int = 0,
    ) -> Response:
        """``addresses``: that a person has, of which ``cards`` may show fewer."""
        words = visit.page.words
        now = database.clock(connection)
        return pages.respond(
            visit.page,
            "answer.html",
            whom=whom,
            cards=cards,
            incomplete=words("answer.incomplete", shown=len(cards), all=addresses) if addresses > len(cards) else None,
            day=words.day(now),
            at=words.moment(now),
            page_id=page_id,
        )

    def _found(self, connection: Connection, visit: Visit, subject: Subject) -> AddressFound:
        return reading.of_address(connection, self._console.keyring, visit.tenant, subject, visit.page.theme)

    def _cards(self, visit: Visit, subject: Subject, found: AddressFound) -> list[rows.Card]:
        address = reading.written(subject.address or "")
        return [rows.of_explanations(visit.page, each, address, of) for each, of in found.explanations.items()]

    def _requests(self, connection: Connection, visit: Visit, subject: Subject) -> list[rows.RequestRow]:
        if not visit.session.key.allows("rights:read"):
            return []
        found = requests.of_person(connection, self._console.keyring, reading.person_ref(visit.tenant, subject))
        return [rows.request(visit.page, each, now=database.clock(connection)) for each in found]

    def _page_id(self, visit: Visit, subject: Subject, *, now: int) -> str:
        return sessions.seal(self._console.keyring, visit.session.token, subject, now=now)


def _form(visit: Visit, *, query: str | None = None) -> Response:
    """``query``: what was searched for in vain."""
    status = 404 if query is not None else 200
    return pages.respond(visit.page, "search.html", status=status, query=query or "", failed=query is not None)
