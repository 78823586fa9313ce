"""The HTTP server of the API, the gate and the status page: uvicorn, with bounds on what one connection may hold, and
for how long.

uvicorn bounds neither the head of a request nor the time that a client takes to send one or to read its answer. Nor
does it go on answering once it has to end, while a load balancer still sends it requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from types import FrameType
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from consent_http.errors import ProblemError, RequestRefusedError
from consent_http.problem_details import MEDIA_TYPE

HEAD_SECONDS = 10.0
"""For a request's head to be complete, from its first byte or the end of the request before."""
MESSAGE_SECONDS = 30.0
"""For the rest of it, where the application has answered without reading it. A body that is read has its own time."""
READ_SECONDS = 60.0
"""For an answer that is longer than the buffers to be read by the client."""
MOST_HEAD_BYTES = 16_384
MOST_HEADERS = 100
MOST_PIPELINED = 16
MOST_CONNECTIONS = 1_000
_MOST_OVERHEAD = 8
"""Bytes of chunked encoding for each byte of a body."""

# Java's own client asks for HTTP/2 with its first request (Upgrade: h2c). A server may ignore that; the parser cannot,
# and takes the body for another protocol. So it does not see that header.
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_PARTIAL = re.compile(rb"\r(?:\n(?:\r|u(?:p(?:g(?:r(?:a(?:d(?:e)?)?)?)?)?)?)?)?\Z", re.IGNORECASE)
"""What may go on as that name, or as the end of the head."""
_IGNORED = b"\r\nIgnored-Upgrade:"

_MALFORMED = ProblemError(400, "malformed-request", "This is no HTTP request.", cure="Send HTTP/1.1.")
_TOO_SLOW = ProblemError(
    408,
    "request-too-slow",
    f"The head of the request did not arrive within {HEAD_SECONDS:.0f} s.",
    cure="Send it again.",
)
_HEAD_TOO_LARGE = ProblemError(
    431,
    "head-too-large",
    f"The head of a request has at most {MOST_HEAD_BYTES} bytes and {MOST_HEADERS} fields.",
    cure="Send fewer or shorter headers.",
)
_TOO_MANY_CONNECTIONS = ProblemError(
    503,
    "too-many-connections",
    "This process has as many connections as it takes.",
    cure="Use one connection for many requests.",
    headers={"Retry-After": "1"},
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Each step of a request sets a new deadline; when it passes, the connection ends unless an
    answer is being prepared, which has deadlines of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._read_deadline: asyncio.TimerHandle | None = None
        self.waiting_since = 0.0
        self._in_head = False
        self._received = 0
        self._body = 0
        self._refusal = _MALFORMED
        self._before_body = True
        self._held = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS and not self._make_room():
            self._refuse(_TOO_MANY_CONNECTIONS)
        else:
            self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._read_deadline):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(self._without_upgrade(data))
        # Also a header whose end has not come, trailers, and the sizes of chunks: the parser collects all of them.
        if self._received - self._body > MOST_HEAD_BYTES + _MOST_OVERHEAD * self._body:
            self._refuse(_HEAD_TOO_LARGE)

    def _without_upgrade(self, data: bytes) -> bytes:
        if not self._before_body:
            return data
        data, self._held = self._held + data, b""
        end = data.find(b"\r\n\r\n")
        if end < 0 and (part := _PARTIAL.search(data)) is not None:
            data, self._held = data[: part.start()], data[part.start() :]
        head = data if end < 0 else data[:end]
        return _UPGRADE.sub(_IGNORED, head) + data[len(head) :]

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._received = self._body = 0
        self._expect(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD_BYTES or len(self.headers) > MOST_HEADERS:
            self._refusal = _HEAD_TOO_LARGE
            raise RequestRefusedError
        if len(self.pipeline) >= MOST_PIPELINED:
            raise RequestRefusedError
        self._in_head = self._before_body = False
        self._expect(MESSAGE_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._before_body = True
        self._received = self._body = 0
        self._expect(HEAD_SECONDS)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_deadline = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_deadline is not None:
            self._read_deadline.cancel()
            self._read_deadline = None

    @property
    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> bool:
        """End the connection that has waited for its next request longest: opening many keeps no other client out."""
        others = (each for each in self.connections if isinstance(each, BoundedProtocol) and each is not self)
        waiting = (each for each in others if not each.is_answering)
        idle = min(waiting, key=lambda each: each.waiting_since, default=None)
        if idle is not None:
            self.connections.discard(idle)
            idle.transport.abort()
        return idle is not None

    def _expect(self, seconds: float) -> None:
        self.waiting_since = self.loop.time()
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._expired)

    def _expired(self) -> None:
        if self.is_answering:
            self._expect(HEAD_SECONDS)
        elif self._in_head:
            self._refuse(_TOO_SLOW)
        else:
            self._close()

    def _refuse(self, problem: ProblemError) -> None:
        """Answer the request that is being read, unless the answer to an earlier one is still being written."""
        if self.is_answering or self.transport.is_closing():
            self._close()
            return
        body = msgspec.json.encode(problem.document())
        headers = {
            **problem.headers,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
        self._close()

    def _close(self) -> None:
        """Once what has been written is read; without it when the client does not read."""
        self.transport.close()
        self.loop.call_later(READ_SECONDS, self.transport.abort)


class Server(uvicorn.Server):
    """Ends in order: first it is not ready any more but goes on answering, each answer with `Connection: close`, until
    those who send it requests have noticed; then it takes no more, finishes what is under way and ends."""

    def __init__(
        self, config: uvicorn.Config, *, shutdown_delay: float = 0.0, on_stopping: Callable[[], None] = lambda: None
    ) -> None:
        """`shutdown_delay` in seconds. `on_stopping` is called on the event loop, as soon as the end has begun."""
        super().__init__(config)
        self._delay = shutdown_delay
        self._on_stopping = on_stopping
        self._stop_at: float | None = None
        self._announced = False

    def stop(self, number: int = signal.SIGTERM, _: FrameType | None = None) -> None:
        """A signal handler. A second signal, or SIGINT, by which a person at a terminal waits, ends it at once."""
        at_once = number == signal.SIGINT or self._stop_at is not None
        self._stop_at = time.monotonic() + (0.0 if at_once else self._delay)

    @property
    def is_stopping(self) -> bool:
        return self._stop_at is not None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's handlers would end the process by the signal rather than with a code."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._stop_at is not None:
            if not self._announced:
                self._announced = True
                self._on_stopping()
                self.config.encoded_headers.append((b"connection", b"close"))
                self.server_state.default_headers.append((b"connection", b"close"))
            self.should_exit |= time.monotonic() >= self._stop_at
        return await super().on_tick(counter)


def config(app: FastAPI, *, host: str, port: int, grace_seconds: int) -> uvicorn.Config:
    """How each of them is served. ``grace_seconds``: for requests under way when the process ends."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedProtocol,
        ws="none",
        # Paths hold the caller's references, and every request is in the metrics.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=grace_seconds,
    )
