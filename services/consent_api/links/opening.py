"""What every page of a link begins with: is it a link of ours, in which theme and language, and may it be used now?"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from consent_api.errors import ChoiceRefusedError, ConsentApiError, InvalidTokenError, LedgerUnavailableError
from consent_api.http.metrics import ApiMetrics
from consent_api.links import pages, theme
from consent_api.links.limits import CHANGES, GUESSES, LOOKS, Uses
from consent_api.links.pages import Page
from consent_api.links.theme import Theme, Themes
from consent_api.links.token import Link, LinkKind, Links
from consent_http import words
from consent_http.words import Language
from consent_service.clock import now_micros

PATHS = {LinkKind.ONE_CLICK: "/u/", LinkKind.PREFERENCES: "/p/"}
_START = "/p/of/"
_CUSTOMER_PREFIX = 64
_OTHER_SITES = ("cross-site", "same-site")
_NO_THEME = Theme(name="Consent Relay")


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A link that was opened, and its page."""

    link: Link
    page: Page
    left: str | None = field(default=None, repr=False)
    """The reference of the subject whom the link's address has left: what the link refuses, it refuses for them too."""

    @property
    def of_left(self) -> Opened:
        """As the link of that subject alone. For refusals, never to show or permit anything."""
        return replace(self, link=replace(self.link, channel=None, address=None, subject_ref=self.left))


def caller_of(host: str) -> str:
    """A peer's address as limits count it: of IPv6 the network, as each customer has one, with more addresses than
    anyone counts."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _CUSTOMER_PREFIX), strict=False))


def is_foreign(request: Request) -> bool:
    """Whether another site's page sends this form. Origin says nothing here: our pages send no referrer."""
    return request.headers.get("sec-fetch-site") in _OTHER_SITES


def link_path(prefix: str, token: str, kind: LinkKind) -> str:
    return f"{prefix}{PATHS[kind]}{token}"


def start_path(prefix: str, tenant: str) -> str:
    """Of the page that sends codes."""
    return f"{prefix}{_START}{tenant}"


def routes(links: LinkPages) -> APIRouter:
    """Below the paths of links, what is no page: a link that was cut, for instance. After all others."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/u/{rest:path}", methods=["GET", "HEAD"])
    @router.api_route("/p/{rest:path}", methods=["GET", "HEAD"])
    async def look(request: Request) -> Response:
        return links.nowhere(request)

    return router


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
        try:
            link = self.sealer.open(token)
            if link.kind is not kind:
                raise InvalidTokenError
        except InvalidTokenError:
            self.count(kind, "wrong_token")
            return self.nowhere(request)
        of_tenant = theme.of(self._themes, link.tenant)
        language = self._language(request, of_tenant.language)
        if link.until is not None and link.until <= now_micros():
            start = start_path(self._prefix, link.tenant)
            return pages.fault(Page(theme=of_tenant, language=language, path=start, home=start), 410)
        home = link_path(self._prefix, token, kind)
        page = Page(theme=of_tenant, language=language, path=home + below, home=home, prefix=self._prefix)
        return Opened(link=link, page=page)

    def open_to_look(self, request: Request, token: str, below: str) -> Opened | Response:
        """As `open`, for a page of the preference centre that is made from the ledger: only so often a minute."""
        opened = self.open(request, token, LinkKind.PREFERENCES, below)
        if isinstance(opened, Opened) and (wait := self.looks.wait_seconds(token)) > 0:
            return self.limited(opened, wait)
        return opened

    def of_tenant(self, request: Request, tenant: str | None, below: str = "") -> Page | Response:
        """The page of a tenant that has a preference centre, for someone without a link; or that there is none."""
        of_tenant = self._themes.get(tenant or "")
        if tenant is None or of_tenant is None or tenant not in self.sealer.tenants:
            return self.nowhere(request)
        home = start_path(self._prefix, tenant)
        language = self._language(request, of_tenant.language)
        return Page(theme=of_tenant, language=language, path=home + below, home=home, prefix=self._prefix)

    @property
    def only_tenant(self) -> str | None:
        """The tenant with a preference centre, where there is only one."""
        return next(iter(self._themes)) if len(self._themes) == 1 else None

    def caller(self, request: Request) -> str:
        """By whom limits go that no link bears."""
        return caller_of(request.client.host if request.client is not None else "")

    def nowhere(self, request: Request) -> Response:
        """The answer to what is no link of ours."""
        nowhere = Page(theme=_NO_THEME, language=self._language(request, "en"), path="")
        wait = self._guesses.wait_seconds(self.caller(request))
        if wait:
            return pages.fault(nowhere, 429, retry_after=wait)
        only = self.only_tenant
        return pages.fault(nowhere, 404, start=start_path(self._prefix, only) if only is not None else None)

    def _language(self, request: Request, default: Language) -> Language:
        return words.chosen(request.query_params.get("lang"), request.headers.get("accept-language"), default)

    def count(self, kind: LinkKind, outcome: str) -> None:
        self._metrics.link_uses.labels(kind.value, outcome).inc()

    def limited(self, opened: Opened, wait_seconds: int) -> Response:
        self.count(opened.link.kind, "limited")
        return pages.fault(opened.page, 429, retry_after=wait_seconds)

    def unavailable(self, opened: Opened, error: ConsentApiError) -> Response:
        """The ledger took nothing, or not all; the person, or the mail provider, has to know."""
        self.count(opened.link.kind, "unavailable")
        if isinstance(error, LedgerUnavailableError):
            self._metrics.unavailable.inc()
            return pages.fault(opened.page, 503, retry_after=error.retry_after)
        partly = isinstance(error, ChoiceRefusedError) and error.recorded
        return pages.fault(opened.page, 503, retry_after=60, partly=partly)
