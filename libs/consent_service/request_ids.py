"""An id for each HTTP request: in its answer, and in every line that is logged while it is carried out."""

from __future__ import annotations

import re
from contextvars import Context, ContextVar, copy_context
from uuid import uuid4

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "Request-Id"
_current: ContextVar[str | None] = ContextVar("request_id", default=None)
_WELL_FORMED = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_DIALLED = re.compile(r"(?:[0-9][._-]*){8}")
"""As many digits could be a phone number, which must not get into a log."""


def current() -> str | None:
    """The id of the request that is being carried out; None outside of one."""
    return _current.get()


def of_no_request() -> Context:
    """A context for a task that outlives the request which starts it."""
    context = copy_context()
    context.run(_current.set, None)
    return context


def chosen(sent: str | None) -> str:
    """The caller's id, if it is well-formed, else one of ours."""
    if sent is None or not (_UUID.fullmatch(sent) or (_WELL_FORMED.fullmatch(sent) and not _DIALLED.search(sent))):
        return str(uuid4())
    return sent


def install(app: FastAPI) -> None:
    """Every answer of `app` gets one: also those of its error handlers, which no middleware of its own surrounds."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: _RequestIds(build())  # type: ignore[method-assign]


class _RequestIds:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = chosen(Headers(scope=scope).get(HEADER))
        # Left set: the server logs in the same task what the application has raised.
        _current.set(request_id)

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, with_id)
