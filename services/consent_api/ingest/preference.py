"""Live before bulk, within one ingest process: the bulk loop lets the live loop go first, and keeps a tenth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WAIT_RATIO = 9.0
"""While live has work, bulk waits at most this many times as long as its last batch took: it keeps a tenth."""


class LivePreference:
    """Shared by the two loops. A batch of bulk that has begun is not interrupted, so bulk batches are small."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._live = False
        self._last_bulk_seconds = 0.0

    @contextmanager
    def live(self) -> Iterator[None]:
        """While live works on a batch."""
        self._set_live(True)
        try:
            yield
        finally:
            self._set_live(False)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """A batch of bulk: waits first, as long as live has work and bulk has had its tenth."""
        with self._changed:
            self._changed.wait_for(lambda: not self._live, timeout=WAIT_RATIO * self._last_bulk_seconds)
        began = self._clock()
        try:
            yield
        finally:
            self._last_bulk_seconds = self._clock() - began

    def _set_live(self, busy: bool) -> None:
        with self._changed:
            self._live = busy
            self._changed.notify_all()
