"""Handing a code to the operator's webhook, which sends it: a signed message of the Standard Webhooks kind."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

import aiohttp
import msgspec
from prometheus_client import Counter
from yarl import URL

from consent_contracts.cloudevents import rfc3339
from consent_http.errors import PrivateTargetError
from consent_http.ssrf import PublicOnlyResolver
from consent_http.webhook_signature import signed_headers
from consent_service.clock import now_micros
from consent_service.retry import Backoff

log = logging.getLogger(__name__)

MESSAGE_TYPE = "code.requested"
TIMEOUT_SECONDS = 5.0
ATTEMPTS = 4
BACKOFF = Backoff((1.0, 3.0, 8.0), jitter=0.3)
_AT_ONCE = 8
_MOST_WAITING = 200
"""More than that are not handed over: the person asks again."""
_TRY_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeMessage:
    """``expires_at`` in micros. ``brand``: the name of the tenant's pages."""

    tenant: str
    channel: str
    address: str = field(repr=False)
    code: str = field(repr=False)
    language: str
    brand: str
    expires_at: int

    def body(self, at: int) -> bytes:
        data = {
            "tenant": self.tenant,
            "channel": self.channel,
            "address": self.address,
            "code": self.code,
            "language": self.language,
            "brand": self.brand,
            "expires_at": rfc3339(self.expires_at),
        }
        return msgspec.json.encode({"type": MESSAGE_TYPE, "timestamp": rfc3339(at), "data": data})


class CodeWebhook:
    """Belongs to one event loop. ``secret``: of the signature. ``allow_private``: for a receiver on this machine."""

    def __init__(
        self, url: str, *, secret: Callable[[], bytes], allow_private: bool, backoff: Backoff = BACKOFF
    ) -> None:
        self._url = URL(url, encoded=True)
        self._secret = secret
        self._resolver = None if allow_private else PublicOnlyResolver()
        self._backoff = backoff
        self._session: aiohttp.ClientSession | None = None
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def hand_over(self, message: CodeMessage, outcomes: Counter) -> None:
        """Returns at once; what comes of it is counted, and logged without the address."""
        if len(self._tasks) >= _MOST_WAITING:
            outcomes.labels("not_sent").inc()
            return
        task = asyncio.create_task(self._send(message, outcomes))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _send(self, message: CodeMessage, outcomes: Counter) -> None:
        made_at, message_id = now_micros(), f"msg_{uuid4().hex}"
        body = message.body(made_at)
        why = ""
        for attempt in range(1, ATTEMPTS + 1):
            async with self._at_once:
                why, again = await self._attempt(message_id, body)
            if not why:
                outcomes.labels("sent").inc()
                return
            pause = self._backoff.seconds(attempt)
            if not again or attempt == ATTEMPTS or now_micros() + pause * 1e6 >= message.expires_at:
                break
            await asyncio.sleep(pause)
        outcomes.labels("not_sent").inc()
        log.error("a code could not be handed to the webhook", extra={"tenant": message.tenant, "why": why})

    async def _attempt(self, message_id: str, body: bytes) -> tuple[str, bool]:
        """Why it failed, empty if it did not, and whether it may succeed another time."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_AT_ONCE, resolver=self._resolver, use_dns_cache=False),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "consent-relay", "Content-Type": "application/json"},
            )
        signed = signed_headers([self._secret()], message_id=message_id, timestamp=int(time.time()), body=body)
        try:
            # Not followed: a redirect would carry the address and the code to another party.
            async with self._session.post(self._url, data=body, headers=signed, allow_redirects=False) as response:
                status = response.status
        except PrivateTargetError as error:
            return str(error), False
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return type(error).__name__, True
        if 200 <= status < 300:
            return "", False
        return f"http_{status}", status >= 500 or status in _TRY_AGAIN
