"""/console/login: an API key with the scope `console` begins a session."""

from __future__ import annotations

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.console import pages
from consent_api.console.entry import NO_THEME, Console
from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import console_sessions, database
from consent_api.ledger.console_sessions import Session
from consent_api.links.limits import Allowance, Uses
from consent_api.links.opening import caller_of
from consent_api.rights import audit
from consent_api.rights.audit import Act
from consent_http import forms
from consent_http.pages import is_own_page

_FAILURES = Allowance(burst=10, every=10.0)
"""Of one caller. A key that is right is never refused for the wrong ones of a neighbour: behind a proxy all callers may
look alike, and a secret of 256 bits is not guessed, however often one tries."""
_BEGUN = Allowance(burst=20, every=10.0)
"""Of one key."""
SIGN_OUT = "logout"


def routes(console: Console) -> APIRouter:
    """Not in /openapi.json: people call it."""
    router = APIRouter(include_in_schema=False)
    failures, begun = Uses(_FAILURES), Uses(_BEGUN)
    one_by_one = anyio.CapacityLimiter(1)

    @router.api_route("/console/login", methods=["GET", "HEAD"])
    async def look(request: Request) -> Response:
        return pages.login(console.page(request, NO_THEME))

    @router.post("/console/login")
    async def login(request: Request) -> Response:
        page = console.page(request, NO_THEME)
        if not is_own_page(request.headers):
            console.metrics.console_logins.labels("foreign_form").inc()
            return pages.fault(page, 403)
        written = (await forms.read(request)).get("key", "")
        try:
            session = await anyio.to_thread.run_sync(
                lambda: console.ledger.transact(lambda c: _begin(c, console, begun, written)), limiter=one_by_one
            )
        except LedgerUnavailableError as error:
            console.metrics.unavailable.inc()
            return pages.fault(page, 503, retry_after=error.retry_after)
        if session is None:
            wait = failures.wait_seconds(caller_of(request.client.host if request.client is not None else ""))
            console.metrics.console_logins.labels("limited" if wait else "refused").inc()
            return pages.fault(page, 429, retry_after=wait) if wait else pages.login(page, failed=True, status=403)
        console.metrics.console_logins.labels("begun").inc()
        first = "" if session.key.allows("read") else "agent" if session.key.allows("submit") else "reviews"
        answer = pages.redirect(page, first)
        answer.headers["Set-Cookie"] = console.cookie(request).set(session.token)
        return answer

    @router.post("/console/logout")
    async def logout(request: Request) -> Response:
        submitted = await console.submitted(request, SIGN_OUT)
        if isinstance(submitted, Response):
            return submitted
        visit = submitted.visit
        try:
            await console.read(lambda c: console_sessions.end(c, visit.session.token))
        except LedgerUnavailableError as error:
            return console.unavailable(visit, error)
        answer = pages.redirect(visit.page, "login")
        answer.headers["Set-Cookie"] = console.cookie(request).clear()
        return answer

    return router


def _begin(connection: Connection, console: Console, begun: Uses, written: str) -> Session | None:
    found = console_sessions.find_key(connection, written)
    if found is None:
        return None
    key, name = found
    if key.tenant not in console.keyring.tenants or begun.wait_seconds(key.id) > 0:
        return None
    session = console_sessions.begin(connection, key, name)
    audit.add(
        connection,
        tenant=key.tenant,
        who=session.who,
        act=Act.SIGNED_IN,
        object_id=None,
        at=database.clock(connection),
    )
    return session
