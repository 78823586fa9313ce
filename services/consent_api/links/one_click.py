"""/u/{token}: one click withdraws (RFC 8058). Mail scanners fetch every link, so only a POST changes anything."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request, Response

from consent_api.errors import ChoiceRefusedError, LedgerUnavailableError
from consent_api.links import pages, privacy_control
from consent_api.links.opening import LinkPages, Opened
from consent_api.links.recording import Choices
from consent_api.links.theme import Theme
from consent_api.links.token import Link, LinkKind
from consent_contracts.decisions import EVERY_PURPOSE
from consent_http import forms, request_body
from consent_http.words import Language

METHOD = "one-click-link"
_FIELD, _VALUE = "list-unsubscribe", "one-click"
_IN_ANOTHER_FORM = re.compile(rb"list-unsubscribe[\"'=:\s]{1,8}one-click", re.IGNORECASE)
"""The two words beside one another: of a form that is called multipart and is none, or the reverse, or of JSON."""


def routes(links: LinkPages, choices: Choices) -> APIRouter:
    """Not in /openapi.json: persons and their mail providers call it, by links."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/u/{token}", methods=["GET", "HEAD"])
    async def look(token: str, request: Request) -> Response:
        opened = links.open(request, token, LinkKind.ONE_CLICK)
        if isinstance(opened, Response):
            return opened
        links.count(LinkKind.ONE_CLICK, "shown")
        return pages.one_click(opened.page, opened.link)

    @router.api_route("/u/{token}/accessibility", methods=["GET", "HEAD"])
    async def statement(token: str, request: Request) -> Response:
        opened = links.open(request, token, LinkKind.ONE_CLICK, "/accessibility")
        return opened if isinstance(opened, Response) else pages.statement(opened.page)

    @router.post("/u/{token}")
    async def unsubscribe(token: str, request: Request) -> Response:
        opened = links.open(request, token, LinkKind.ONE_CLICK)
        if isinstance(opened, Response):
            return opened
        body = await request_body.read_bytes(request, limit=forms.LONGEST_FORM)
        if not is_one_click(request.headers.get("content-type", ""), body):
            return pages.one_click(opened.page, opened.link, status=400)
        if (wait := links.changes.wait_seconds(token)) > 0:
            return links.limited(opened, wait)
        return await _withdraw(links, choices, opened, signal=privacy_control.is_asked(request))

    return router


def is_one_click(content_type: str, body: bytes) -> bool:
    """Whether a body asks for it: RFC 8058's field in a form of either kind, or its two words in any other form, as a
    mail provider's mistake must not keep a person subscribed. Pure."""
    fields = forms.parse(content_type, body)
    said = any(name.strip().lower() == _FIELD and each.strip().lower() == _VALUE for name, each in fields.items())
    return said or _IN_ANOTHER_FORM.search(unquote_to_bytes(body)) is not None


async def _withdraw(links: LinkPages, choices: Choices, opened: Opened, *, signal: bool) -> Response:
    link, theme, language = opened.link, opened.page.theme, opened.page.language
    # Beside what is withdrawn, and at the same address alone.
    also = _by_signal(link, theme) if signal else []
    chosen = [
        _withdrawal(link, link.purpose or EVERY_PURPOSE, METHOD, language),
        *(_withdrawal(link, each, privacy_control.METHOD, language) for each in also),
    ]
    try:
        await choices.record(link.tenant, lambda now: chosen)
    except (LedgerUnavailableError, ChoiceRefusedError) as error:
        return links.unavailable(opened, error)
    links.count(LinkKind.ONE_CLICK, "recorded")
    return pages.unsubscribed(opened.page, link, by_signal=also)


def _by_signal(link: Link, theme: Theme) -> list[str]:
    """The purposes that the browser's signal refuses beside the link's. All, where it is not known which are marked."""
    if link.purpose in (None, EVERY_PURPOSE):
        return []
    if not theme.known:
        return [EVERY_PURPOSE]
    marked = [each for each in theme.purposes if each.sale_or_share and link.channel in each.channels]
    return [each.id for each in marked if each.id != link.purpose]


def _withdrawal(link: Link, purpose: str, method: str, language: Language) -> dict[str, object]:
    """Of one purpose, on that channel, at that address."""
    return {
        "channel": link.channel,
        "purpose": purpose,
        "status": "withdrawn",
        "address": link.address,
        "evidence": pages.evidence_without_notice(language, method),
    }
