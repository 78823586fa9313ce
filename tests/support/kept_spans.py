"""An exporter that keeps the spans of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from consent_service import spans
from consent_service.spans import EndedSpan


@dataclass(kw_only=True, slots=True)
class KeptSpans:
    """In the order in which they ended."""

    spans: list[EndedSpan] = field(default_factory=list)

    def named(self, name: str) -> list[EndedSpan]:
        return [each for each in self.spans if each.name == name]

    def export(self, ended: EndedSpan) -> None:
        self.spans.append(ended)

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
