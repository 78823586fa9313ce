"""What every page of a link begins with: is it a link of ours, in which theme and language, and may it be used now?"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request, Response

from consent_api.errors import ConsentApiError, InvalidTokenError, LedgerUnavailableError
from consent_api.http.metrics import ApiMetrics
from consent_api.links import pages, texts, theme
from consent_api.links.limits import CHANGES, GUESSES, LOOKS, Uses
from consent_api.links.pages import Page
from consent_api.links.theme import Theme, Themes
from consent_api.links.token import Link, LinkKind, Links

PATHS = {LinkKind.ONE_CLICK: "/u/", LinkKind.PREFERENCES: "/p/"}
_NO_THEME = Theme(name="Consent Relay")


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A link that was opened, and its page."""

    link: Link
    page: Page


class LinkPages:
    """Belongs to one event loop. ``public_url``: what people's links begin with; its path precedes ours."""

    def __init__(self, links: Links, themes: Themes, metrics: ApiMetrics, *, public_url: str | None) -> None:
        self.sealer = links
        self.changes = Uses(CHANGES)
        self.looks = Uses(LOOKS)
        self._guesses = Uses(GUESSES)
        self._themes = themes
        self._metrics = metrics
        self._prefix = urlsplit(public_url or "").path.rstrip("/")

    def open(self, request: Request, token: str, kind: LinkKind, below: str = "") -> Opened | Response:
        """The link of a token, or the answer to one that is none, which is the same whatever is wrong with it.
        ``below``: the path of the page within the link."""
        asked, accepted = request.query_params.get("lang"), request.headers.get("accept-language")
        try:
            link = self.sealer.open(token)
            if link.kind is not kind:
                raise InvalidTokenError
        except InvalidTokenError:
            self.count(kind, "wrong_token")
            nowhere = Page(theme=_NO_THEME, language=texts.chosen(asked, accepted, "en"), path="")
            wait = self._guesses.wait_seconds(request.client.host if request.client is not None else "")
            return pages.fault(nowhere, 429, retry_after=wait) if wait else pages.fault(nowhere, 404)
        of_tenant = theme.of(self._themes, link.tenant)
        home = f"{self._prefix}{PATHS[kind]}{token}"
        language = texts.chosen(asked, accepted, of_tenant.language)
        return Opened(link=link, page=Page(theme=of_tenant, language=language, path=home + below, home=home))

    def count(self, kind: LinkKind, outcome: str) -> None:
        self._metrics.link_uses.labels(kind.value, outcome).inc()

    def limited(self, opened: Opened, wait_seconds: int) -> Response:
        self.count(opened.link.kind, "limited")
        return pages.fault(opened.page, 429, retry_after=wait_seconds)

    def unavailable(self, opened: Opened, error: ConsentApiError) -> Response:
        """The ledger took nothing; the person, or the mail provider, has to know."""
        self.count(opened.link.kind, "unavailable")
        if isinstance(error, LedgerUnavailableError):
            self._metrics.unavailable.inc()
            return pages.fault(opened.page, 503, retry_after=error.retry_after)
        return pages.fault(opened.page, 503, retry_after=60)
