"""The clock by which a partition's permissions end: the own one, unless the records read show that it is slow.

A merge whose host is an hour behind would keep a permission for an hour at every tool to which it was pushed. Two
other clocks can be read from the records of the live lane: the brokers', as append times, and the ledger's, in
ConsentResolved. That the own one is wrong is for ClockCheck to report.
"""

from __future__ import annotations

from collections.abc import Callable

from consent_service.clock import MAX_CLOCK_LEAD_MICROS, elapsed_micros


class RecordClock:
    """Microseconds since the epoch. For one thread."""

    def __init__(self, clock: Callable[[], int], elapsed: Callable[[], int] = elapsed_micros) -> None:
        """`elapsed`: a clock that is never set; it carries on what the last record has shown."""
        self._clock = clock
        self._elapsed = elapsed
        self._append_at_zero: int | None = None
        self._ledger_at_zero: int | None = None

    def observe(self, append_time: int, resolved_at: int | None) -> None:
        """The newest live record, and the time of the newest ConsentResolved among those read with it."""
        self._append_at_zero = append_time - self._elapsed()
        if resolved_at is not None:
            self._ledger_at_zero = resolved_at - self._elapsed()

    def __call__(self) -> int:
        """The later of the own clock and the append times. More than 2 s later than the own clock are not followed
        alone, since the brokers' clock may be fast, but as far as the ledger's clock confirms them."""
        own = self._clock()
        if self._append_at_zero is None:
            return own
        append = self._append_at_zero + self._elapsed()
        if append > own + MAX_CLOCK_LEAD_MICROS:
            ledger = own if self._ledger_at_zero is None else self._ledger_at_zero + self._elapsed()
            return max(own, min(append, ledger))
        return max(own, append)
