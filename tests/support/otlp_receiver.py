"""A collector and a tool: takes spans by OTLP over HTTP, and webhooks, and keeps both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACES, WEBHOOK = "/v1/traces", "/webhook"


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """As the collector got it; identifiers in hexadecimal digits, `parent_id` empty for the first of a trace."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: dict[str, str]


@dataclass(kw_only=True, slots=True)
class Received:
    """By several threads."""

    url: str
    spans: list[Span] = field(default_factory=list)
    traceparents: list[str | None] = field(default_factory=list)
    """Of each webhook, in order."""

    def of(self, trace_id: str) -> list[Span]:
        return [each for each in list(self.spans) if each.trace_id == trace_id]


def spans_in(body: bytes) -> list[Span]:
    """Of one export request."""
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource in request.resource_spans:
        service = next(each.value.string_value for each in resource.resource.attributes if each.key == "service.name")
        found += [
            Span(
                service=service,
                name=each.name,
                trace_id=each.trace_id.hex(),
                span_id=each.span_id.hex(),
                parent_id=each.parent_span_id.hex(),
                start=each.start_time_unix_nano,
                end=each.end_time_unix_nano,
                attributes={a.key: a.value.string_value or str(a.value.int_value) for a in each.attributes},
            )
            for scope in resource.scope_spans
            for each in scope.spans
        ]
    return found


@contextmanager
def receiver() -> Iterator[Received]:
    """Until the block ends, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == TRACES:
                received.spans += spans_in(body)
            else:
                received.traceparents.append(self.headers["traceparent"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received = Received(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, name="otlp receiver", daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
