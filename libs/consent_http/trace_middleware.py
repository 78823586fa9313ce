"""Gives each HTTP request its span: a child of the caller's `traceparent`, or the first one of a new trace."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent_service import spans, trace_context

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_HEADER = trace_context.HEADER.encode()
_SERVER_ERROR = 500


def install(app: FastAPI, *, sampled_ratio: float) -> None:
    """`sampled_ratio`: the share of the traces begun here that are sampled."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: _Traces(build(), sampled_ratio)  # type: ignore[method-assign]


class _Traces:
    def __init__(self, app: ASGIApp, sampled_ratio: float) -> None:
        self._app = app
        self._sampled_ratio = sampled_ratio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parent = _sent(scope)
        if parent is not None:
            span = parent.child()
        else:
            span = trace_context.begin(sampled=trace_context.is_drawn(self._sampled_ratio))
        # Left set: the server logs in the same task what the application has raised.
        trace_context.set_current(span)
        start, status = spans.now(), _SERVER_ERROR

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted if spans.is_on() else send)
        finally:
            if spans.is_on():
                _end(scope, span, parent, start, status)


def _sent(scope: Scope) -> trace_context.TraceContext | None:
    found = [value for name, value in scope["headers"] if name == _HEADER]
    return trace_context.parse(found[0]) if len(found) == 1 else None


def _end(
    scope: Scope, span: trace_context.TraceContext, parent: trace_context.TraceContext | None, start: int, status: int
) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    # The route's template, never the path: that holds the caller's references, and links to a person's pages.
    route = getattr(scope.get("route"), "path_format", "other")
    spans.end(
        f"{method} {route}",
        span,
        parent=parent,
        start=start,
        kind="server",
        attributes={"http.request.method": method, "http.route": route, "http.response.status_code": status},
        error=f"status {status}" if status >= _SERVER_ERROR else None,
    )
