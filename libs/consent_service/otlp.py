"""The exporter of `spans` by OpenTelemetry's SDK. Imported only where an endpoint is set.

What the exporter needs beside the endpoint (headers, certificates, time-out, compression) it reads from
OpenTelemetry's own variables, `OTEL_EXPORTER_OTLP_HEADERS` and so on.
"""

from __future__ import annotations

import threading

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from consent_service.spans import (
    CLOSE_SECONDS,
    EXPORT_INTERVAL_MILLIS,
    EXPORT_SPANS,
    QUEUE_SPANS,
    EndedSpan,
    Kind,
)
from consent_service.trace_context import TraceContext

_KINDS: dict[Kind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}


class _GivenIds(IdGenerator):
    """Gives a span the identifiers that were carried already. Of the thread that sets them."""

    def __init__(self) -> None:
        self._given = threading.local()

    def give(self, span: TraceContext) -> None:
        self._given.span = span

    def generate_trace_id(self) -> int:
        return int(self._given.span.trace_id, 16)

    def generate_span_id(self) -> int:
        return int(self._given.span.span_id, 16)


class OtlpExporter:
    """Batches, in a bounded queue and a thread of its own."""

    def __init__(self, endpoint: str, *, service: str, instance: str, release: str) -> None:
        self._ids = _GivenIds()
        self._sender = OTLPSpanExporter(endpoint=endpoint)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # Only sampled spans get here.
            resource=Resource.create(
                {"service.name": service, "service.version": release, "service.instance.id": instance}
            ),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._sender,
                max_queue_size=QUEUE_SPANS,
                max_export_batch_size=EXPORT_SPANS,
                schedule_delay_millis=EXPORT_INTERVAL_MILLIS,
            )
        )
        self._tracer = self._provider.get_tracer("consent-relay", release)

    def export(self, ended: EndedSpan) -> None:
        """See `spans.Exporter`."""
        self._ids.give(ended.span)
        started = self._tracer.start_span(
            ended.name,
            context=_below(ended.parent),
            kind=_KINDS[ended.kind],
            attributes=dict(ended.attributes),
            start_time=ended.start,
            record_exception=False,
        )
        if ended.error is not None:
            started.set_status(trace.StatusCode.ERROR, ended.error)
        started.end(ended.end)

    def close(self) -> None:
        """Sends what waits, and gives up where the collector does not answer in time."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            self._sender.shutdown()  # type: ignore[no-untyped-call]  # It ends its waits between attempts, too.
            closing.join(CLOSE_SECONDS)


def _below(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.sampled else trace.TraceFlags.DEFAULT)
    context = trace.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())
