"""What every page of the console begins with: who is signed in, in which language, and whether they may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread
from fastapi import Request, Response
from sqlalchemy import Connection

from consent_api.console import pages
from consent_api.console.pages import Page
from consent_api.errors import LedgerUnavailableError
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import console_sessions
from consent_api.ledger.console_sessions import Session
from consent_api.ledger.ledger import Ledger
from consent_api.links import theme
from consent_api.links.limits import Allowance, Uses
from consent_api.links.theme import Theme, Themes
from consent_http import forms, words
from consent_http.errors import ProblemError
from consent_http.pages import Cookie, is_form_token, is_own_page
from consent_privacy.keyring import Keyring

T = TypeVar("T")

_AT_ONCE = 2
"""Pages that read the ledger at one moment: looking takes few threads from those who record."""
PAGES = Allowance(burst=60, every=0.5)
"""Of one session: a person at a keyboard needs less."""
NO_THEME = Theme(name="Consent Relay")
FORM = "form"
_COOKIE = "console"


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """A page asked for by someone who is signed in and may see it."""

    session: Session
    page: Page

    @property
    def tenant(self) -> str:
        return self.session.key.tenant


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """A form that one of our pages has sent."""

    visit: Visit
    fields: Mapping[str, str]


class Console:
    """Belongs to one event loop. ``public_url``: https there makes the cookie secure."""

    def __init__(self, ledger: Ledger, themes: Themes, metrics: ApiMetrics, *, public_url: str | None) -> None:
        self.ledger = ledger
        self.metrics = metrics
        self._themes = themes
        self._by_https = (public_url or "").lower().startswith("https:")
        self._pages = Uses(PAGES)
        self._at_once = anyio.CapacityLimiter(_AT_ONCE)

    @property
    def keyring(self) -> Keyring:
        return self.ledger.context.keyring

    def theme(self, tenant: str) -> Theme:
        return theme.of(self._themes, tenant)

    def cookie(self, request: Request) -> Cookie:
        return Cookie(of=_COOKIE, secure=self._by_https or request.url.scheme == "https")

    def page(self, request: Request, of: Theme, session: Session | None = None) -> Page:
        """How a page is shown. Links in it are relative, so that it works behind any proxy, below any path."""
        language = words.chosen(request.query_params.get("lang"), request.headers.get("accept-language"), of.language)
        below = request.url.path.partition("/console/")[2]
        return Page(theme=of, language=language, root="../" * below.count("/") or "./", below=below, session=session)

    async def enter(self, request: Request, scope: str | None = None) -> Visit | Response:
        """For a page with ``scope``. To those who are not signed in, the way to the page where they can."""
        try:
            session = await self._session(request)
        except LedgerUnavailableError as error:
            self.metrics.unavailable.inc()
            return pages.fault(self.page(request, NO_THEME), 503, retry_after=error.retry_after)
        if session is None:
            if request.method in ("GET", "HEAD"):
                return pages.redirect(self.page(request, NO_THEME), "login")
            return pages.fault(self.page(request, NO_THEME), 401)
        page = self.page(request, self.theme(session.key.tenant), session)
        if (wait := self._pages.wait_seconds(session.token)) > 0:
            return pages.fault(page, 429, retry_after=wait)
        if scope is not None and not session.key.allows(scope):
            return pages.missing_scope(page, scope)
        return Visit(session=session, page=page)

    async def submitted(self, request: Request, action: str, scope: str | None = None) -> Submitted | Response:
        """A form of ``action``, sent by a page of this session."""
        visit = await self.enter(request, scope)
        if isinstance(visit, Response):
            return visit
        fields = await forms.read(request)
        sent = fields.get(FORM, "")
        if not (is_own_page(request.headers) and is_form_token(sent, visit.session.token, action)):
            return pages.fault(visit.page, 403)
        return Submitted(visit=visit, fields=fields)

    async def make(self, visit: Visit, work: Callable[[], Response]) -> Response:
        """A page that ``work`` makes from the ledger, in a thread."""
        try:
            return await self.in_thread(work)
        except LedgerUnavailableError as error:
            return self.unavailable(visit, error)
        except ProblemError as error:
            return pages.problem(visit.page, error)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.in_thread(lambda: self.ledger.transact(work))

    async def in_thread(self, work: Callable[[], T]) -> T:
        async with self._at_once:
            return await anyio.to_thread.run_sync(work)

    def unavailable(self, visit: Visit, error: LedgerUnavailableError) -> Response:
        self.metrics.unavailable.inc()
        return pages.fault(visit.page, 503, retry_after=error.retry_after)

    async def _session(self, request: Request) -> Session | None:
        token = request.cookies.get(self.cookie(request).name)
        return await self.read(lambda c: console_sessions.go_on(c, token)) if token else None
