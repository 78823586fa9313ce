"""/status/: the page, what is pushed to it, and who is let in. Read only."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from consent_http import forms
from consent_http.errors import InvalidApiKeysError
from consent_http.pages import SAFE_HEADERS, is_form_token, is_own_page
from consent_http.problem_details import missing_api_key
from status_page import pages
from status_page.entrance import Entrance
from status_page.errors import ExplainUnansweredError
from status_page.explaining import ExplainApi
from status_page.metrics import StatusMetrics
from status_page.pages import Page
from status_page.sessions import LINK_SECONDS, Login, Session
from status_page.streams import Streams

_FORM = "form"
_BUSY_SECONDS = "10"


class Site:
    """What the routes act on. ``channels``: of which an address can be explained. ``url``: at which people reach it."""

    def __init__(
        self,
        entrance: Entrance,
        streams: Streams,
        metrics: StatusMetrics,
        *,
        explain: ExplainApi | None,
        channels: tuple[str, ...],
        interval: float,
        url: str | None,
    ) -> None:
        self.entrance = entrance
        self.streams = streams
        self.metrics = metrics
        self.explain = explain
        self.channels = channels
        self.interval = interval
        self.url = url

    def begin(self, request: Request, page: Page, login: Login, outcome: str) -> Response:
        """A session, and the way to the page."""
        session = self.entrance.sessions.begin(login)
        self.metrics.logins.labels(outcome).inc()
        answer = pages.redirect(page, "")
        answer.headers["Set-Cookie"] = self.entrance.cookie(request).set(session.token)
        return answer

    async def form(self, request: Request, action: str) -> tuple[Session, dict[str, str]] | Response:
        """What a page of ours has sent in a session."""
        session = self.entrance.session(request)
        if session is None:
            return pages.redirect(self.entrance.page(request), "login")
        fields = await forms.read(request)
        if not (is_own_page(request.headers) and is_form_token(fields.get(_FORM, ""), session.token, action)):
            return pages.fault(self.entrance.page(request, session), 403)
        return session, fields

    async def explained(self, page: Page, session: Session, fields: dict[str, str]) -> Response:
        """Why the address may, or may not, be contacted: asked of the API with the key of who asks."""
        asked = {name: fields.get(name, "").strip()[:320] for name in ("address", "channel", "purpose")}
        now = self.entrance.sessions.now
        secret = session.secret_to_explain(now)
        outcome, status = "refused", 403
        faults, sentences = [page.words("explain.may_not")], list[str]()
        if self.explain is not None and page.may_explain:
            if secret is None:
                faults = [page.words("explain.ended")]
            elif not all(asked.values()):
                status, faults = 422, [page.words("explain.incomplete")]
            else:
                session.explained_at = now
                try:
                    is_explained, lines = await self.explain.ask(secret, language=page.language, **asked)
                except ExplainUnansweredError:
                    outcome, status, faults = "unanswered", 503, [page.words("explain.unanswered")]
                else:
                    status, faults, sentences = (200, [], lines) if is_explained else (422, lines, [])
                    outcome = "explained" if is_explained else "refused"
        self.metrics.explanations.labels(outcome).inc()
        if status == 200:
            return pages.explained(page, sentences, asked=asked, channels=self.channels)
        return pages.not_explained(page, faults, status=status, asked=asked, channels=self.channels)


def routes(site: Site) -> APIRouter:
    """Not in an /openapi.json: people call them."""
    router = APIRouter(include_in_schema=False)
    entrance = site.entrance

    @router.api_route("/", methods=["GET", "HEAD"])
    @router.api_route("/status", methods=["GET", "HEAD"])
    async def without_slash() -> Response:
        return Response(status_code=307, headers={"Location": "status/"})

    @router.api_route("/status/", methods=["GET", "HEAD"])
    async def show(request: Request) -> Response:
        session = entrance.session(request)
        page = entrance.page(request, session)
        if session is None and entrance.caller(request) is None:
            return pages.redirect(page, "login")
        figures = site.streams.fragment(page.language)
        reloads = request.query_params.get("refresh") == "auto"
        return pages.whole(page, figures, interval=site.interval, channels=site.channels, reloads=reloads)

    @router.api_route("/status/status.js", methods=["GET", "HEAD"])
    async def script() -> Response:
        return Response(pages.SCRIPT, media_type="text/javascript", headers=SAFE_HEADERS)

    @router.get("/status/events")
    async def events(request: Request) -> Response:
        session, caller = entrance.session(request), entrance.caller(request)
        login = session.login if session is not None else caller
        if login is None:
            raise missing_api_key()
        if site.streams.is_full:
            return Response(status_code=503, headers={"Retry-After": _BUSY_SECONDS, **SAFE_HEADERS})

        def is_admitted() -> bool:
            try:
                is_signed_in = session is None or entrance.session(request) is not None
                return is_signed_in and entrance.is_live(login.key)
            except InvalidApiKeysError:
                return False

        language = entrance.page(request).language
        # A proxy that collected what is sent would hold it back.
        headers = {**SAFE_HEADERS, "X-Accel-Buffering": "no"}
        body = site.streams.events(language, is_admitted)
        return StreamingResponse(body, media_type="text/event-stream", headers=headers)

    @router.api_route("/status/login", methods=["GET", "HEAD"])
    async def look(request: Request) -> Response:
        return pages.login(entrance.page(request, here="login"))

    @router.post("/status/login")
    async def login(request: Request) -> Response:
        page = entrance.page(request, here="login")
        if not is_own_page(request.headers):
            site.metrics.logins.labels("foreign_form").inc()
            return pages.fault(page, 403)
        found = entrance.login((await forms.read(request)).get("key", ""))
        if found is None:
            site.metrics.logins.labels("refused").inc()
            return pages.login(page, failed=True, status=403)
        return site.begin(request, page, found, "begun")

    @router.post("/status/links")
    async def make_link(request: Request) -> Response:
        caller = entrance.caller(request)
        if caller is None:
            raise missing_api_key()
        at = site.url or str(request.base_url).rstrip("/")
        link = {
            "url": f"{at}/status/enter/{entrance.sessions.make_link(caller)}",
            "expires_in_seconds": round(LINK_SECONDS),
        }
        return Response(json.dumps(link), status_code=201, media_type="application/json", headers=SAFE_HEADERS)

    @router.get("/status/enter/{link}")
    async def enter(link: str, request: Request) -> Response:
        page = entrance.page(request, root="../")
        found = entrance.sessions.use_link(link)
        if found is None or not entrance.is_live(found.key):
            site.metrics.logins.labels("refused").inc()
            return pages.fault(page, 404)
        return site.begin(request, page, found, "by_link")

    @router.post("/status/logout")
    async def logout(request: Request) -> Response:
        sent = await site.form(request, "logout")
        if isinstance(sent, Response):
            return sent
        entrance.sessions.end(sent[0].token)
        answer = pages.redirect(entrance.page(request), "login")
        answer.headers["Set-Cookie"] = entrance.cookie(request).clear()
        return answer

    @router.post("/status/explain")
    async def explain(request: Request) -> Response:
        sent = await site.form(request, "explain")
        if isinstance(sent, Response):
            return sent
        return await site.explained(entrance.page(request, sent[0]), *sent)

    return router
