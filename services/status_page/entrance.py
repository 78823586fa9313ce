"""Who is let in: an API key with the scope operate, or a session that one has begun."""

from __future__ import annotations

from fastapi import Request

from consent_http import words
from consent_http.api_keys import ApiKey, KeyFile, bearer
from consent_http.pages import Cookie
from status_page.pages import Page
from status_page.sessions import EXPLAIN_SCOPE, SCOPE, Login, Session, Sessions

_COOKIE = "status"


class Entrance:
    """Belongs to one event loop. ``url``: at which people reach the page; https there makes the cookie secure. Every
    method that looks at keys raises InvalidApiKeysError while their file cannot be read."""

    def __init__(self, keys: KeyFile, sessions: Sessions, *, url: str | None, explains: bool) -> None:
        self.sessions = sessions
        self._keys = keys
        self._by_https = (url or "").lower().startswith("https:")
        self._explains = explains

    def cookie(self, request: Request) -> Cookie:
        # Lax: a message about an alert may link to the page, which only shows.
        return Cookie(of=_COOKIE, secure=self._by_https or request.url.scheme == "https", same_site="Lax")

    def page(self, request: Request, session: Session | None = None, *, here: str = "", root: str = "") -> Page:
        language = words.chosen(request.query_params.get("lang"), request.headers.get("accept-language"), "en")
        return Page(language=language, root=root, here=here, session=session, explains=self._explains)

    def login(self, written: str) -> Login | None:
        """For a key as it was typed or sent."""
        key = self._keys.find(written.strip())
        if key is None or not key.allows(SCOPE):
            return None
        return Login(key=key, secret=written.strip() if key.allows(EXPLAIN_SCOPE) else None)

    def caller(self, request: Request) -> Login | None:
        """By the Authorization header."""
        return self.login(bearer(request.headers.get("authorization")) or "")

    def session(self, request: Request) -> Session | None:
        """By the cookie, if its key is still good."""
        session = self.sessions.find(request.cookies.get(self.cookie(request).name, ""))
        return session if session is not None and self.is_live(session.login.key) else None

    def is_live(self, key: ApiKey) -> bool:
        """Whether a key that was accepted still would be: a revoked one is shut out now."""
        known = self._keys.get(key.id)
        return known is not None and known.digest == key.digest and known.allows(SCOPE)
