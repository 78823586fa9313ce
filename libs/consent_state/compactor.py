"""Compacts state stores after erasures, in a thread of its own.

RocksDB keeps what a row held before in its files until it compacts them, which may be never. What an erasure has
replaced must not stay: see `WriteBatch.purge` and docs/decisions/0029.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from consent_state.errors import StateError

if TYPE_CHECKING:
    from consent_state.store import StateStore

log = logging.getLogger(__name__)

DELAY_SECONDS = 10.0
"""Erasures that come within it share one compaction."""
REST_FACTOR = 9
"""So many times as long as a turn took is rested after it: compaction takes a tenth of the time at most."""


class Compactor:
    """One store at a time, so that one core is busy with it at most. Any thread may request."""

    def __init__(self, *, delay_seconds: float = DELAY_SECONDS) -> None:
        self._delay_seconds = delay_seconds
        self._requested: set[StateStore] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compactor", daemon=True)

    def start(self) -> None:
        """Begin to carry requests out."""
        self._thread.start()

    def request(self, store: StateStore) -> None:
        """Compact what is pending in this store, soon. Returns at once."""
        with self._lock:
            self._requested.add(store)
        self._wake.set()

    def close(self) -> None:
        """Returns when the thread has ended. Close the stores first: that ends a compaction which is under way.

        What is left is compacted after the next start.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        rest_seconds = 0.0
        while True:
            self._wake.wait()
            if self._stopping.wait(max(self._delay_seconds, rest_seconds)):
                return
            self._wake.clear()
            with self._lock:
                stores, self._requested = self._requested, set()
            began = time.monotonic()
            for store in stores:
                if not self._stopping.is_set():
                    _compact(store)
            rest_seconds = REST_FACTOR * (time.monotonic() - began)


def _compact(store: StateStore) -> None:
    began = time.monotonic()
    try:
        ranges = store.compact()
    except StateError as error:
        # A damaged store is restored by its owner, which meets the damage too, and requests this again.
        log.warning("the local state cannot be compacted", extra={"error": str(error)})
        return
    except Exception:
        log.exception("the local state could not be compacted; it is tried again with the next erasure")
        return
    log.info(
        "erased rows have left the files of the local state",
        extra={"directory": str(store.path), "ranges": ranges, "seconds": round(time.monotonic() - began, 2)},
    )
