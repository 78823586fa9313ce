"""/p/{token}/rights and /p/{token}/proof: a person's own data, the proof of their permissions, and their requests.

By the link of the preference centre, which proves its address, and its subject if it has one: no account. Only a form
of the page has data made or a request opened, so that a scanner that follows links does neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.domain.validation import ValidationRules
from consent_api.errors import InvalidTokenError, LedgerUnavailableError, SubmissionInvalidError
from consent_api.ledger import database
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.links import pages
from consent_api.links.opening import LinkPages, Opened, is_foreign
from consent_api.links.proven import proven
from consent_api.links.token import LinkKind
from consent_api.rights import audit, exporting, opening, proof, requests
from consent_api.rights.access.reading import Export
from consent_api.rights.api import stream
from consent_api.rights.audit import PERSON, Act
from consent_api.rights.documents import html, pdf
from consent_api.rights.documents.document import Line
from consent_api.rights.exporting import Format
from consent_api.rights.person_ref import PersonRef
from consent_api.rights.phrases import WORDS
from consent_api.rights.requests import Identity, Kind, NewRequest, RightsRequest, State
from consent_http import forms
from consent_http.pages import headers_of

T = TypeVar("T")

KINDS = (Kind.RECTIFICATION, Kind.ERASURE, Kind.OBJECTION, Kind.ACCESS)
"""What a person can ask for here; their data to take elsewhere they have at once."""
_AT_ONCE = 2
"""Pages that read the ledger at one moment: looking takes few threads from those who record."""
_FORM = b"rights"


def routes(ledger: Ledger, rules: ValidationRules, links: LinkPages) -> APIRouter:
    """Not in /openapi.json: persons come by links."""
    router = APIRouter(include_in_schema=False)
    own = PersonPages(ledger, rules, links)

    @router.api_route("/p/{token}/rights", methods=["GET", "HEAD"])
    @router.api_route("/p/{token}/rights/data", methods=["GET", "HEAD"])  # The target of its form.
    async def look(token: str, request: Request) -> Response:
        return await own.show(request, token, "/rights", lambda opened: own.overview(opened, token))

    @router.post("/p/{token}/rights")
    async def ask(token: str, request: Request) -> Response:
        return await own.ask(request, token)

    @router.post("/p/{token}/rights/data")
    async def data(token: str, request: Request) -> Response:
        return await own.data(request, token)

    @router.api_route("/p/{token}/proof", methods=["GET", "HEAD"])
    async def show_proof(token: str, request: Request) -> Response:
        return await own.show(request, token, "/proof", lambda opened: own.proof(opened, as_pdf=False))

    @router.api_route("/p/{token}/proof/pdf", methods=["GET", "HEAD"])
    async def show_proof_pdf(token: str, request: Request) -> Response:
        return await own.show(request, token, "/proof/pdf", lambda opened: own.proof(opened, as_pdf=True))

    return router


class PersonPages:
    """Belongs to one event loop."""

    def __init__(self, ledger: Ledger, rules: ValidationRules, links: LinkPages) -> None:
        self._ledger = ledger
        self._rules = rules
        self._links = links
        self._at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def show(self, request: Request, token: str, below: str, make: Callable[[Opened], Response]) -> Response:
        """A page that is made from the ledger, by ``make`` in a thread."""
        opened = self._links.open_to_look(request, token, below)
        if isinstance(opened, Response):
            return opened
        return await self._made(opened, "shown", lambda: make(proven(self._ledger, opened)))

    def overview(self, opened: Opened, token: str, *, new: RightsRequest | None = None) -> Response:
        """What a person can have and ask for, and what they asked for. Blocks."""
        keyring = self._ledger.context.keyring
        found = self._ledger.transact(lambda c: requests.of_person(c, keyring, _person(opened)))
        rows = [_row(opened, each, is_new=new is not None and each.request_id == new.request_id) for each in found]
        form = self._links.sealer.seal_form(token, _FORM)
        names = WORDS[opened.page.language].texts["kind"]
        kinds = [{"value": each.value, "name": names[each.value], "about": _about(opened, each)} for each in KINDS]
        return pages.rights(opened.page, form, requests=list(reversed(rows)), kinds=kinds)

    async def ask(self, request: Request, token: str) -> Response:
        """Open the request that the form asks for, unless one of the kind is open; the page with it."""
        opened = await self._submitted(request, token, "/rights")
        if isinstance(opened, Response):
            return opened
        link, fields = opened
        kind = next((each for each in KINDS if fields.get("kind") == each.value), None)
        if kind is None:
            return pages.fault(link.page, 403)

        def work() -> Response:
            whose = proven(self._ledger, link)
            return self.overview(whose, token, new=self._open(whose, kind))

        return await self._made(link, "recorded", work)

    async def data(self, request: Request, token: str) -> Response:
        """All that is held about the person, as the file that the form asks for."""
        opened = await self._submitted(request, token, "/rights")
        if isinstance(opened, Response):
            return opened
        link, fields = opened
        format_ = next((each for each in Format if fields.get("format") == each.value), None)
        if format_ is None:
            return pages.fault(link.page, 403)
        page = link.page

        def work() -> Response:
            person = _person(proven(self._ledger, link))
            file = exporting.export(
                self._ledger, person, page.theme, format=format_, language=page.language, who=PERSON
            )
            return stream(file, page.theme, page.language, limiter=self._at_once)

        return await self._made(link, "shown", work)

    def proof(self, opened: Opened, *, as_pdf: bool) -> Response:
        """Blocks."""
        page, person = opened.page, _person(opened)
        keyring = self._ledger.context.keyring
        export = Export(
            self._ledger.transact,
            keyring,
            person,
            theme=page.theme,
            language=page.language,
            names_subject=False,
        )
        self._ledger.transact(
            lambda c: audit.add(
                c,
                tenant=person.tenant,
                who=PERSON,
                act=Act.PROOF_SHOWN,
                object_id=person.keys(keyring)[0],
                at=database.clock(c),
            )
        )
        permissions = proof.given(export)
        texts = self._ledger.transact(lambda c: proof.texts_of(c, person.tenant, permissions))
        document = proof.document(
            permissions,
            export.head,
            page.theme,
            page.language,
            texts=texts,
            actions=() if as_pdf else _actions(opened),
        )
        headers = headers_of(html.style_of(page.theme))
        if not as_pdf:
            return Response(html.render(document), media_type=html.MEDIA_TYPE, headers=headers)
        name = f'attachment; filename="proof-{export.head.generated_at[:10]}.pdf"'
        return Response(
            pdf.render(document), media_type=pdf.MEDIA_TYPE, headers={**headers, "Content-Disposition": name}
        )

    def _open(self, opened: Opened, kind: Kind) -> RightsRequest:
        person, context = _person(opened), self._ledger.context
        left = _person(opened.of_left) if opened.left is not None else None
        # A code gives a link that ends.
        identity = Identity.LINK if opened.link.until is None else Identity.CODE
        new = NewRequest(person=person, kind=kind, identity=identity, identity_note=None, by=PERSON)

        def once(connection: Connection, now: int) -> RightsRequest:
            for each in requests.of_person(connection, context.keyring, person):
                if each.kind is kind and each.state is State.OPEN:
                    return each
            return opening.open_request(connection, context, self._rules, new, now=now, also=left)

        return self._ledger.write(Lane.LIVE, once)

    async def _submitted(self, request: Request, token: str, below: str) -> tuple[Opened, Mapping[str, str]] | Response:
        """The link and the fields of a form that our page has sent."""
        opened = self._links.open(request, token, LinkKind.PREFERENCES, below)
        if isinstance(opened, Response):
            return opened
        fields = await forms.read(request)
        try:
            ours = self._links.sealer.open_form(token, fields.get("form", "")) == _FORM
        except InvalidTokenError:
            ours = False
        if not ours or is_foreign(request):
            self._links.count(LinkKind.PREFERENCES, "foreign_form")
            return pages.fault(opened.page, 403)
        if (wait := self._links.changes.wait_seconds(token)) > 0:
            return self._links.limited(opened, wait)
        return opened, fields

    async def _made(self, opened: Opened, outcome: str, work: Callable[[], Response]) -> Response:
        try:
            async with self._at_once:
                answer = await anyio.to_thread.run_sync(work)
        except (LedgerUnavailableError, SubmissionInvalidError) as error:
            return self._links.unavailable(opened, error)
        self._links.count(LinkKind.PREFERENCES, outcome)
        return answer


def _person(opened: Opened) -> PersonRef:
    link = opened.link
    return PersonRef(tenant=link.tenant, subject_ref=link.subject_ref, channel=link.channel, address=link.address)


def _about(opened: Opened, kind: Kind) -> str:
    """What becomes of a request of this kind. An objection by the link of an address alone reaches no other address."""
    is_narrow = kind is Kind.OBJECTION and opened.link.subject_ref is None
    page = opened.page
    return page.words(f"rights.about_{kind.value}{'_of_address' if is_narrow else ''}", name=page.theme.name)


def _row(opened: Opened, found: RightsRequest, *, is_new: bool) -> Mapping[str, object]:
    page = opened.page
    words = WORDS[page.language]
    return {
        "what": words.of_channel("kind", found.kind.value),
        "state": words.of_channel("state", found.state.value),
        "opened": words.day(found.opened_at),
        "due": words.day(found.due_at) if found.state is State.OPEN else None,
        "reference": found.request_id,
        "reason": found.reason,
        "extended": found.extension_reason,
        "is_new": is_new,
    }


def _actions(opened: Opened) -> list[Line]:
    page, words = opened.page, WORDS[opened.page.language]
    language = f"?lang={page.language}"
    return [
        (words("proof.pdf"), f"{page.home}/proof/pdf{language}"),
        (words("proof.back"), f"{page.home}{language}"),
    ]
