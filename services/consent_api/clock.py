"""Whether the clock that stamps decisions agrees with the database's (docs/decisions/0013)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from prometheus_client import Gauge
from sqlalchemy import Connection, text

from consent_runtime.observability import Health

from .errors import LedgerUnavailableError
from .ledger.ledger import Ledger

PART = "clock"
TOLERATED_SECONDS = 1.0
_EVERY_SECONDS = 2.0
_THEIRS = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")


def ahead(connection: Connection, clock: Callable[[], int]) -> float:
    """Seconds that `clock` is ahead of the database's, negative when behind: what is certain of it, as the database
    may have looked at its own at any moment between question and answer."""
    before = clock()
    theirs = int(connection.execute(_THEIRS).scalar_one())
    after = clock()
    return (max(before - theirs, 0) + min(after - theirs, 0)) / 1_000_000


def agrees(offset: float) -> bool | str:
    """True, or what a health page says of so large an offset."""
    if abs(offset) <= TOLERATED_SECONDS:
        return True
    side = "ahead of" if offset > 0 else "behind"
    return f"the clock here is {abs(offset):.1f} s {side} the database's: synchronise both hosts (NTP)"


class ClockWatch:
    """Compares the clocks every other second, in a thread of its own: a process that only consumes has no other
    moment for it. It goes on recording meanwhile. A withdrawal held back would do the harm that is only feared."""

    def __init__(self, *, ledger: Ledger, offset: Gauge, health: Health) -> None:
        self._ledger = ledger
        self._offset = offset
        self._health = health

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._health.beat(PART)
            self.look()
            stop.wait(_EVERY_SECONDS)

    def look(self) -> None:
        try:
            offset = self._ledger.transact(lambda connection: ahead(connection, self._ledger.clock))
        except LedgerUnavailableError:
            return  # The loops that need the database say so; what was known of the clock still holds.
        self._offset.set(offset)
        self._health.ready(PART, agrees(offset))
