"""One HTTP request and its answer: the guard before it leaves, and every way a call can fail, in our words.

aiohttp's exceptions hold URLs, and a URL may hold an address (SendGrid's do): none of them leaves this
file, not even as a cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import aiohttp
from aiohttp import ClientRequest, ClientResponse, ServerDisconnectedError
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from propagator.connector import Guard
from propagator.errors import CallFailed, DestinationDown, Misconfigured, Withheld

LARGEST_ANSWER = 2 * 2**20


@dataclass(kw_only=True, slots=True)
class _Leave:
    """Of one call: whom to ask, and whether the request has left once already."""

    guard: Guard
    sent: bool = False

    def ask(self) -> None:
        """Raises Withheld, or DestinationDown when the request has left before: what became of that is open."""
        if not self.guard():
            raise _cut() if self.sent else Withheld
        self.sent = True


_leave: ContextVar[_Leave | None] = ContextVar("leave", default=None)


class _GuardedRequest(ClientRequest):
    """Asks the guard in the moment before the first byte is written, on a connection that stands.

    Any earlier would not do: getting a connection can take seconds, and on Python 3.11 a turn of the loop lies
    between `send` and the writing of a body. A process that is frozen in between has a successor when it goes on.
    aiohttp calls both again when it repeats a DELETE on a fresh connection: a repetition is guarded too.
    """

    async def send(self, conn: Connection) -> ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            # Something came that nobody had asked for; it would be taken for the answer to this.
            raise ServerDisconnectedError
        leave = _leave.get()
        if leave is not None and not self._body:
            leave.ask()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        leave = _leave.get()
        if leave is not None and self._body:
            try:
                leave.ask()
            except Exception as refusal:
                if conn.protocol is not None:
                    conn.protocol.set_exception(refusal)  # Raised where the answer is waited for.
                return
        await super().write_bytes(writer, conn, content_length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer; the body may hold addresses and stays out of representations."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Exchange:
    """One account's connections, made lazily inside the running loop."""

    def __init__(self, *, timeout_seconds: float, connections: int, resolver: AbstractResolver | None = None) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._connections = connections
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        guard: Guard | None = None,
    ) -> Answer:
        """Send once and read all of the answer; `guard` is given when the request tells something.

        Raises DestinationDown when no whole answer came (what was asked may have been done all the same),
        Misconfigured when no attempt can succeed, Withheld when the guard said no.
        """
        leave = None if guard is None else _Leave(guard=guard)
        token = _leave.set(leave)
        try:
            # Not followed: a redirect would carry the address and the credentials to somebody else.
            async with self._opened().request(
                method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
            ) as response:
                if leave is not None and not leave.sent:
                    raise _cut()  # An answer to something else: nothing was written yet.
                return Answer(status=response.status, headers=response.headers, body=await _read(response))
        except CallFailed:
            raise
        except TimeoutError:
            raise DestinationDown("timeout", f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _in_our_words(error) from None
        finally:
            _leave.reset(token)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No DNS cache: with a resolver of ours, the address that was checked is the one that is called.
            connector = aiohttp.TCPConnector(
                limit=self._connections, resolver=self._resolver, use_dns_cache=False, keepalive_timeout=30
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_GuardedRequest,
                headers={"User-Agent": "consent-relay"},
            )
        return self._session


async def _read(response: ClientResponse) -> bytes:
    """All of the body, up to a bound: a provider gone mad must not fill our memory."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(2**16):
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise DestinationDown("oversized", f"the answer is longer than {LARGEST_ANSWER} bytes")
    return b"".join(parts)


def _cut() -> DestinationDown:
    return DestinationDown("cut", "the connection broke before the answer was whole")


def _in_our_words(error: aiohttp.ClientError | OSError) -> CallFailed:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return Misconfigured("certificate", "the server's TLS certificate does not hold: check `url`")
        case aiohttp.ClientConnectorDNSError():
            return DestinationDown("unresolved", "the host name cannot be resolved")
        case aiohttp.ClientConnectorError():
            return DestinationDown("unreachable", "no connection could be made")
        case aiohttp.InvalidURL():
            return Misconfigured("url", "not a URL that can be called: check `url`")
        case aiohttp.ClientResponseError():
            return DestinationDown("malformed", "the answer is not HTTP")
        case ServerDisconnectedError() | aiohttp.ClientPayloadError() | OSError():
            return _cut()
        case _:
            return DestinationDown("failed", type(error).__name__)


def basic(user: str, password: str) -> str:
    """The Authorization header of HTTP Basic."""
    return aiohttp.encode_basic_auth(user, password)
