"""Spans of the traces that are sampled, sent to an OpenTelemetry collector by OTLP over HTTP.

Off by default: `start` is not called then, `is_on` is False, and nothing of OpenTelemetry is imported. One exporter a
process, as logs have one handler. What cannot be sent in time is dropped, and nothing waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, Protocol

from consent_service.errors import InvalidSettingsError
from consent_service.trace_context import TraceContext

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float]

QUEUE_SPANS = 8_192
"""That wait for the collector; the oldest are dropped beyond."""
EXPORT_SPANS = 512
EXPORT_INTERVAL_MILLIS = 1_000.0
CLOSE_SECONDS = 2.0
"""For the last spans when a process ends; with a collector that does not answer, as long again to give up."""
_MISSING = (
    "CONSENT_RELAY_TRACES_ENDPOINT: is set, but OpenTelemetry is not installed. Install consent-relay[traces], or unset"
    " CONSENT_RELAY_TRACES_ENDPOINT."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedSpan:
    """`start`, `end`: nanoseconds since the epoch. `error`: why it failed."""

    name: str
    span: TraceContext
    parent: TraceContext | None
    start: int
    end: int
    kind: Kind
    attributes: Attributes
    error: str | None


class Exporter(Protocol):
    """Takes spans that have ended. `export` never blocks and never raises; `close` takes twice
    `CLOSE_SECONDS` at most."""

    def export(self, ended: EndedSpan) -> None: ...

    def close(self) -> None: ...


_exporter: Exporter | None = None


def start(endpoint: str, service: str, instance: str) -> None:
    """Export the spans of this process to `endpoint`, the whole URL. InvalidSettingsError when the optional package is
    missing."""
    try:
        from consent_service.otlp import OtlpExporter
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise InvalidSettingsError([_MISSING]) from None
    use(OtlpExporter(endpoint, service=service, instance=instance, release=version("consent-relay")))


def use(exporter: Exporter | None) -> None:
    """From now on, in this process."""
    global _exporter
    _exporter = exporter


def close() -> None:
    """Send what is left; see `CLOSE_SECONDS`."""
    exporter = _exporter
    use(None)
    if exporter is not None:
        exporter.close()


def is_on() -> bool:
    """Whether this process exports spans. Asked first, so that nothing is computed for none."""
    return _exporter is not None


def now() -> int:
    """Nanoseconds since the epoch, as spans have them; 0 where none are exported."""
    return time.time_ns() if _exporter is not None else 0


def end(
    name: str,
    span: TraceContext | None,
    *,
    parent: TraceContext | None,
    start: int,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    error: str | None = None,
) -> None:
    """The span ends now; it began at `start`, of `now`. Nothing happens where it is None or not sampled."""
    if _exporter is not None and span is not None and span.sampled:
        _exporter.export(
            EndedSpan(
                name=name,
                span=span,
                parent=parent,
                start=start,
                end=time.time_ns(),
                kind=kind,
                attributes=attributes or {},
                error=error,
            )
        )


def end_child(
    name: str,
    parent: TraceContext | None,
    *,
    start: int,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    error: str | None = None,
) -> None:
    """As `end`, for a span below `parent` that nothing else is below of."""
    if _exporter is not None and parent is not None and parent.sampled:
        end(name, parent.child(), parent=parent, start=start, kind=kind, attributes=attributes, error=error)
