"""Gives each HTTP request its id: in its answer, and in every line that is logged while it is carried out."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent_service.request_ids import HEADER, chosen, set_current


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
        set_current(request_id)

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, with_id)
