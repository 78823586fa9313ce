"""Which traces the requests of a call to a tool belong to: those of the pushes that it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from consent_service import spans, trace_context
from consent_service.trace_context import TraceContext

_of_call: ContextVar[Sequence[TraceContext]] = ContextVar("call_traces", default=())


def set_of_call(traces: Sequence[TraceContext]) -> None:
    """For the rest of the task that makes the call. The first one is given to the tool."""
    _of_call.set(traces)


class RequestSpans:
    """One request, in each of these traces; without an exporter only in the first."""

    def __init__(self) -> None:
        parents = _of_call.get()
        self._parents = parents if spans.is_on() else parents[:1]
        self._spans = [each.child() for each in self._parents]
        self._start = spans.now()

    def headers(self) -> Mapping[str, str]:
        """What the request carries of it."""
        return {trace_context.HEADER: str(self._spans[0])} if self._spans else {}

    def end(self, method: str, host: str | None, *, status: int | None = None, error: str | None = None) -> None:
        """The tool has answered with this status, or the request failed."""
        if not spans.is_on():
            return
        attributes: dict[str, str | int] = {"http.request.method": method, "server.address": host or ""}
        if status is not None:
            attributes["http.response.status_code"] = status
        for span, parent in zip(self._spans, self._parents, strict=True):
            spans.end(
                "tool request",
                span,
                parent=parent,
                start=self._start,
                kind="client",
                attributes=attributes,
                error=error,
            )
