"""An exporter that keeps the spans of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from consent_service import spans
from consent_service.trace_context import TraceContext


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptSpan:
    """As it was exported. Times in nanoseconds since the epoch."""

    name: str
    span: TraceContext
    parent: TraceContext | None
    start: int
    end: int
    kind: spans.Kind
    attributes: spans.Attributes
    error: str | None


@dataclass(kw_only=True, slots=True)
class KeptSpans:
    """In the order in which they ended."""

    spans: list[KeptSpan] = field(default_factory=list)

    def named(self, name: str) -> list[KeptSpan]:
        return [each for each in self.spans if each.name == name]

    def export(
        self,
        name: str,
        span: TraceContext,
        *,
        parent: TraceContext | None,
        start: int,
        end: int,
        kind: spans.Kind,
        attributes: spans.Attributes,
        error: str | None,
    ) -> None:
        self.spans.append(
            KeptSpan(
                name=name,
                span=span,
                parent=parent,
                start=start,
                end=end,
                kind=kind,
                attributes=attributes,
                error=error,
            )
        )

    def close(self) -> None:
        """Nothing is left to send."""


@contextmanager
def kept_spans() -> Iterator[KeptSpans]:
    """Those that end within the block."""
    kept = KeptSpans()
    spans.use(kept)
    try:
        yield kept
    finally:
        spans.use(None)
