"""One HTTP request and its response: rate limit and guard before it is sent, and each failure as an error of ours.

aiohttp's exceptions hold URLs, and a URL may hold an address (SendGrid's do): none of them leaves this file, not even
as a cause.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import aiohttp
from aiohttp import ClientRequest, ClientResponse, ServerDisconnectedError
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from consent_http.errors import PrivateTargetError
from propagator.connectors.base import CallBudget, Guard
from propagator.connectors.call_traces import RequestSpans
from propagator.errors import CallFailedError, DestinationDownError, MisconfiguredError, SendNotAllowedError

MAX_RESPONSE_BYTES = 2 * 2**20
MAX_DOUBT_SECONDS = 5.0
"""Of a look-up that pushes do not depend on: a firewall that drops its packets delays the first push by no more."""


@dataclass(kw_only=True, slots=True)
class _SendGuard:
    """Of one call: asked before each time its request is written to a socket."""

    guard: Guard | None
    """None: the request changes nothing at the provider."""
    budget: CallBudget
    writes: int = 0

    async def before_repetition(self) -> None:
        """aiohttp sends an idempotent request once more where a kept connection turns out to be closed."""
        if self.writes:
            await self.budget.spend()

    def check(self) -> None:
        """Raises SendNotAllowedError, or DestinationDownError where the request was written before: what became of
        that is not known."""
        if self.guard is not None and not self.guard():
            raise _cut() if self.writes else SendNotAllowedError
        self.writes += 1


_send_guard: ContextVar[_SendGuard] = ContextVar("send_guard")


class _GuardedRequest(ClientRequest):
    """Checks the guard in the moment before the first byte is written, on an open connection.

    Any earlier would not do: opening a connection can take seconds, and on Python 3.11 the event loop runs other tasks
    between `send` and the writing of a body. A process that is frozen in between has a successor when it goes on.
    """

    async def send(self, conn: Connection) -> ClientResponse:
        send_guard = _send_guard.get()
        await send_guard.before_repetition()
        if conn.protocol is None or conn.protocol.should_close:
            # Bytes arrived that answer no request; they would be taken for the response to this one.
            raise ServerDisconnectedError
        if not self._body:
            send_guard.check()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        if self._body:
            try:
                _send_guard.get().check()
            except Exception as refusal:
                if conn.protocol is not None:
                    conn.protocol.set_exception(refusal)  # Raised where the response is waited for.
                return
        await super().write_bytes(writer, conn, content_length)


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """A whole response; the body may hold addresses and stays out of representations."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class HttpClient:
    """One account's connections, made lazily inside the running loop."""

    def __init__(self, *, timeout_seconds: float, connections: int, resolver: AbstractResolver | None = None) -> None:
        self._seconds = timeout_seconds
        self._connections = connections
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        budget: CallBudget,
        headers: Mapping[str, str],
        body: bytes | None = None,
        guard: Guard | None = None,
        most_seconds: float | None = None,
    ) -> HttpResponse:
        """Spend one request of `budget`, then, within the time-out, send once and read the whole response.

        `guard` is given when the request changes something at the provider, `most_seconds` where it is to take less
        than the time-out. Raises DestinationDownError when no whole
        response came (the request may have been executed all the same), MisconfiguredError when no attempt can succeed,
        SendNotAllowedError when the guard refused.
        """
        await budget.spend()
        request_spans, target = RequestSpans(), URL(url, encoded=True)
        try:
            response = await self._send(
                method,
                target,
                headers={**headers, **request_spans.headers()},
                body=body,
                send_guard=_SendGuard(guard=guard, budget=budget),
                seconds=self._seconds if most_seconds is None else min(most_seconds, self._seconds),
            )
        except CallFailedError as error:
            request_spans.end(method, target.host, error=error.reason)
            raise
        request_spans.end(method, target.host, status=response.status)
        return response

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        send_guard: _SendGuard,
        seconds: float,
    ) -> HttpResponse:
        token = _send_guard.set(send_guard)
        try:
            # Not followed: a redirect would carry the address and the credentials to another party.
            async with self._opened().request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                if not send_guard.writes:
                    raise _cut()  # A response to another request: this one was not written yet.
                return HttpResponse(status=response.status, headers=response.headers, body=await _read(response))
        except CallFailedError:
            raise
        except PrivateTargetError as error:
            raise _private_target(error) from None
        except TimeoutError:
            raise DestinationDownError("timeout", f"no response within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _as_call_failure(error) from None
        finally:
            _send_guard.reset(token)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No DNS cache: with a resolver of ours, the address that was checked is the one that is called.
            connector = aiohttp.TCPConnector(
                limit=self._connections, resolver=self._resolver, use_dns_cache=False, keepalive_timeout=30
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_GuardedRequest,
                headers={"User-Agent": "consent-relay"},
            )
        return self._session


async def _read(response: ClientResponse) -> bytes:
    """The whole body, up to a bound: a faulty provider must not fill our memory."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(2**16):
        parts.append(part)
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            raise DestinationDownError("oversized", f"the response is longer than {MAX_RESPONSE_BYTES} bytes")
    return b"".join(parts)


def _cut() -> DestinationDownError:
    return DestinationDownError("cut", "the connection broke before the response was whole")


def _as_call_failure(error: aiohttp.ClientError | OSError) -> CallFailedError:
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as refused):
            return _invalid_certificate(refused)
        case aiohttp.ClientConnectorSSLError():
            return _no_tls()
        case aiohttp.ClientConnectorDNSError():
            return DestinationDownError("unresolved", "the host name cannot be resolved")
        case aiohttp.ClientConnectorError():
            return DestinationDownError("unreachable", "no connection could be made")
        case aiohttp.InvalidURL():
            return MisconfiguredError("url", "not a URL that can be called: check `url`")
        case aiohttp.ClientResponseError():
            return DestinationDownError("malformed", "the response is not HTTP")
        case ServerDisconnectedError() | aiohttp.ClientPayloadError() | OSError():
            return _cut()
        case _:
            return DestinationDownError("failed", type(error).__name__)


def _private_target(error: PrivateTargetError) -> MisconfiguredError:
    return MisconfiguredError("private_target", f"{error}: correct `url`, or set `options.allow_private`")


def _invalid_certificate(refused: ssl.SSLCertVerificationError) -> MisconfiguredError:
    why = f"the server's TLS certificate is not valid ({refused.verify_message})"
    return MisconfiguredError("certificate", f"{why}: check `url`, or have the tool renew it")


def _no_tls() -> MisconfiguredError:
    return MisconfiguredError("tls", "no TLS that both sides speak: check the scheme and the port of `url`")


async def connect(url: str, *, timeout_seconds: float, resolver: AbstractResolver | None = None) -> None:
    """Make a connection, with TLS where the URL has it, and end it: nothing is sent. Raises what `HttpClient.call`
    does."""
    target = URL(url, encoded=True)
    host, port = target.host or "", target.port or 0
    secure = target.scheme == "https"
    try:
        async with asyncio.timeout(timeout_seconds):
            # As for a call: the address that was checked is the one that is connected to.
            address = host if resolver is None else (await resolver.resolve(host, port))[0]["host"]
            _, writer = await asyncio.open_connection(
                address, port, ssl=secure or None, server_hostname=host if secure else None
            )
            writer.transport.abort()
    except PrivateTargetError as error:
        raise _private_target(error) from None
    except TimeoutError:
        raise DestinationDownError("timeout", f"no connection within {timeout_seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise _invalid_certificate(error) from None
    except ssl.SSLError:
        raise _no_tls() from None
    except socket.gaierror:
        raise DestinationDownError("unresolved", "the host name cannot be resolved") from None
    except OSError:
        raise DestinationDownError("unreachable", "no connection could be made") from None


def basic(user: str, password: str) -> str:
    """The Authorization header of HTTP Basic."""
    return aiohttp.encode_basic_auth(user, password)
