"""/p/of/{tenant}: the way to one's choices without a link, by a code that is sent to the address (R20).

Every answer is the same whether the address is known or not, and takes the same work; only the message differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.domain.addresses import Named, same_place
from consent_api.domain.validation import ValidationRules, named_address
from consent_api.errors import InvalidTokenError, LedgerUnavailableError, SubmissionInvalidError
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import database
from consent_api.ledger.ledger import Ledger
from consent_api.links import codes, pages
from consent_api.links.code_webhook import CodeMessage, CodeWebhook
from consent_api.links.limits import CODE_TRIES, CODES, Uses
from consent_api.links.opening import LinkPages, is_foreign, link_path
from consent_api.links.pages import Page
from consent_api.links.token import Link, LinkKind
from consent_http import forms
from consent_http.pages import SAFE_HEADERS

T = TypeVar("T")

SESSION_MICROS = 60 * codes.MINUTE_MICROS
"""How long the page stays open that a code has opened: the computer may be another person's."""
_AT_ONCE = 2
_USE = b"code"
_LONGEST = 254
"""Of what was typed and is no address, as the page shows it again."""
_CHANNELS_OF_NUMBERS = ("sms", "voice")
"""By which a code reaches a number, the first that the installation has."""


class Asked(msgspec.Struct, array_like=True):
    """For which address a code was asked, as the form brings it back, sealed."""

    channel: str
    address: str


_ASKED = msgspec.msgpack.Decoder(Asked)


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeParts:
    """What the routes are made of. ``webhook``: None where the installation sends no codes."""

    ledger: Ledger
    links: LinkPages
    rules: ValidationRules
    metrics: ApiMetrics
    webhook: CodeWebhook | None


def routes(parts: CodeParts) -> APIRouter:
    """Not in /openapi.json. Before those of `/p/{token}`."""
    router = APIRouter(include_in_schema=False)
    start = Start(parts)

    @router.api_route("/p", methods=["GET", "HEAD"])
    @router.api_route("/p/", methods=["GET", "HEAD"])
    async def only(request: Request) -> Response:
        return start.look(request, parts.links.only_tenant)

    @router.api_route("/p/of/{tenant}", methods=["GET", "HEAD"])
    @router.api_route("/p/of/{tenant}/code", methods=["GET", "HEAD"])
    async def look(tenant: str, request: Request) -> Response:
        return start.look(request, tenant)

    @router.api_route("/p/of/{tenant}/accessibility", methods=["GET", "HEAD"])
    async def statement(tenant: str, request: Request) -> Response:
        page = parts.links.of_tenant(request, tenant, "/accessibility")
        return page if isinstance(page, Response) else pages.statement(page)

    @router.post("/p/of/{tenant}")
    async def ask(tenant: str, request: Request) -> Response:
        return await start.ask(request, tenant)

    @router.post("/p/of/{tenant}/code")
    async def enter(tenant: str, request: Request) -> Response:
        return await start.enter(request, tenant)

    return router


class Start:
    """Belongs to one event loop."""

    def __init__(self, parts: CodeParts) -> None:
        self._ledger = parts.ledger
        self._links = parts.links
        self._rules = parts.rules
        self._outcomes = parts.metrics.codes
        self._webhook = parts.webhook
        self._asks = Uses(CODES)
        self._tries = Uses(CODE_TRIES)
        self._at_once = anyio.CapacityLimiter(_AT_ONCE)

    def look(self, request: Request, tenant: str | None) -> Response:
        page = self._links.of_tenant(request, tenant)
        return page if isinstance(page, Response) else pages.start(page, sends_codes=self._webhook is not None)

    async def ask(self, request: Request, tenant: str) -> Response:
        """A code for what was typed, and the page to enter it on."""
        page = self._links.of_tenant(request, tenant)
        if isinstance(page, Response):
            return page
        if self._webhook is None:
            return pages.start(page, sends_codes=False)
        if is_foreign(request):
            return pages.fault(page, 403)
        typed = (await forms.read(request)).get("address", "")
        channel = "email" if "@" in typed else self._of_numbers
        try:
            address = named_address(channel, typed, self._rules)
        except SubmissionInvalidError:
            return pages.start(page, sends_codes=True, wrong=typed[:_LONGEST])
        if (wait := self._asks.wait_seconds(self._links.caller(request))) > 0:
            return self._limited(page, wait)
        named, code = (tenant, channel, address), codes.new_code()
        keyring, forms_of = self._ledger.context.keyring, self._forms(named)

        def work(connection: Connection) -> tuple[bool, int]:
            now = database.clock(connection)
            return codes.ask(connection, keyring, named, code, forms=forms_of, now=now), now

        try:
            to_send, now = await self._in_thread(lambda: self._ledger.transact(work))
        except LedgerUnavailableError as error:
            return pages.fault(page, 503, retry_after=error.retry_after)
        self._outcomes.labels("asked").inc()
        if to_send:
            self._webhook.hand_over(
                CodeMessage(
                    tenant=tenant,
                    channel=channel,
                    address=address,
                    code=code,
                    language=page.language,
                    brand=page.theme.name,
                    expires_at=now + codes.VALID_MICROS,
                ),
                self._outcomes,
            )
        sealed = self._links.sealer.seal(tenant, _USE, msgspec.msgpack.encode(Asked(channel=channel, address=address)))
        return pages.code(page, sealed)

    async def enter(self, request: Request, tenant: str) -> Response:
        """To the page of one's choices, if the code is right."""
        page = self._links.of_tenant(request, tenant)
        if isinstance(page, Response):
            return page
        fields = await forms.read(request)
        sealed = fields.get("asked", "")
        try:
            asked = _ASKED.decode(self._links.sealer.open_sealed(tenant, _USE, sealed))
        except (InvalidTokenError, msgspec.DecodeError):
            return pages.fault(page, 403)
        if is_foreign(request):
            return pages.fault(page, 403)
        if (wait := self._tries.wait_seconds(self._links.caller(request))) > 0:
            return self._limited(page, wait)
        named = (tenant, asked.channel, asked.address)
        try:
            link = await self._in_thread(lambda: self._opened(named, codes.typed_code(fields.get("code", ""))))
        except LedgerUnavailableError as error:
            return pages.fault(page, 503, retry_after=error.retry_after)
        self._outcomes.labels("right" if link is not None else "wrong").inc()
        if link is None:
            return pages.code(page, sealed, wrong=True)
        place = f"{link_path(page.prefix, self._links.sealer.token(link), link.kind)}?lang={page.language}"
        return Response(status_code=303, headers={"Location": place, **SAFE_HEADERS})

    def _opened(self, named: Named, typed: str) -> Link | None:
        """Blocks. None: the code is not the one in force."""
        keyring, (tenant, channel, address) = self._ledger.context.keyring, named
        forms_of = self._forms(named)

        def work(connection: Connection) -> Link | None:
            now = database.clock(connection)
            if not codes.use(connection, keyring, named, typed, now=now):
                return None
            return Link(
                tenant=tenant,
                kind=LinkKind.PREFERENCES,
                channel=channel,
                address=address,
                subject_ref=codes.only_subject(connection, keyring, forms_of),
                until=now + SESSION_MICROS,
            )

        return self._ledger.transact(work)

    @property
    def _of_numbers(self) -> str:
        """The channel of telephone numbers to which a code is sent."""
        return next((each for each in _CHANNELS_OF_NUMBERS if each in self._rules.channels), "sms")

    def _forms(self, named: Named) -> Sequence[Named]:
        """The address on every channel that reaches the same place."""
        tenant, channel, address = named
        return [(tenant, each, address) for each in same_place(channel) if each in self._rules.channels]

    def _limited(self, page: Page, wait: int) -> Response:
        self._outcomes.labels("limited").inc()
        return pages.fault(page, 429, retry_after=wait)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._at_once:
            return await anyio.to_thread.run_sync(work)
