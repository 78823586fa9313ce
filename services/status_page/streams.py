"""Pushes the figures to browsers, as server-sent events: a bounded number of streams, each for a bounded time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from consent_http.words import Language
from consent_service.clock import elapsed_seconds
from status_page import pages
from status_page.collector import Collector
from status_page.figures import figures
from status_page.metrics import StatusMetrics
from status_page.observed import Observed

MOST = 32
HEARTBEAT_SECONDS = 10.0
STREAM_SECONDS = 3600.0
"""A browser asks for the next one by itself."""
_RECONNECT = b"retry: 3000\n\n"


class Streams:
    """Belongs to one event loop. What is pushed is written once for all who see it in a language."""

    def __init__(self, observed: Observed, collector: Collector, metrics: StatusMetrics) -> None:
        self._observed = observed
        self._collector = collector
        self._metrics = metrics
        self._open = 0
        self._written: dict[Language, tuple[float, str]] = {}

    @property
    def is_full(self) -> bool:
        return self._open >= MOST

    def fragment(self, language: Language) -> str:
        """The figures as they are now, as HTML."""
        written = self._written.get(language)
        if written is None or written[0] != self._observed.at:
            written = self._observed.at, pages.fragment(language, figures(self._observed))
            self._written[language] = written
        return written[1]

    async def events(self, language: Language, is_admitted: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Until the process stops, who looks is no longer admitted, or an hour has passed."""
        self._open += 1
        self._metrics.streams.set(self._open)
        until = elapsed_seconds() + STREAM_SECONDS
        try:
            yield _RECONNECT
            has_news = True
            while not self._collector.stopping and elapsed_seconds() < until and is_admitted():
                yield _event(self.fragment(language)) if has_news else b": heartbeat\n\n"
                has_news = await self._collector.wait(HEARTBEAT_SECONDS)
        finally:
            self._open -= 1
            self._metrics.streams.set(self._open)


def _event(html: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: figures\n{lines}\n".encode()
