"""Whether this host's clock agrees with those of the brokers, for processes that have no database to ask. Pure.

A record that was read has been appended before: an append time ahead of our clock proves that ours is behind. That ours
is ahead is proved by a record of which it is known that it was appended after a certain moment: one that we sent
ourselves, or one at or above an end offset that we had asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from consent_service.clock import MAX_CLOCK_LEAD_MICROS, elapsed_micros, now_micros

_KEPT_MICROS = 60_000_000
"""A bound that is older than this is replaced by the next one, even if that is wider."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bounds:
    """Between which a broker's clock is, less the elapsed clock; each with the elapsed clock when it was learnt."""

    low: int | None = None
    low_at: int = 0
    high: int | None = None
    high_at: int = 0


class ClockCheck:
    """Compares our clock with the append times of records, by whatever has a clock of its own: a partition, as its
    leader stamps them. `observe` is called by one thread, the rest by any."""

    def __init__(self, *, clock: Callable[[], int] = now_micros, elapsed: Callable[[], int] = elapsed_micros) -> None:
        """`clock` gives micros since the epoch, `elapsed` micros on a clock that is never set: what is learnt is kept
        relative to it, so that a step of our own clock shows at once."""
        self._clock = clock
        self._elapsed = elapsed
        self._bounds: dict[Hashable, _Bounds] = {}

    def observe(self, source: Hashable, append_time: int, *, not_before: int | None = None) -> None:
        """A record with this append time (set by the broker, micros) has just been read or acknowledged.

        `not_before`: it was certainly appended after this moment of the elapsed clock.
        """
        now = self._elapsed()
        bounds = self._bounds.get(source, _Bounds())
        low = append_time - now
        if bounds.low is None or low >= bounds.low or now - bounds.low_at > _KEPT_MICROS:
            bounds = replace(bounds, low=low, low_at=now)
        if not_before is not None:
            high = append_time - not_before
            if bounds.high is None or high <= bounds.high or now - bounds.high_at > _KEPT_MICROS:
                bounds = replace(bounds, high=high, high_at=now)
            if bounds.low is not None and bounds.low > high:  # The broker's clock was set back.
                bounds = replace(bounds, low=low, low_at=now)
        if bounds.high is not None and low > bounds.high:  # It was set forward.
            bounds = replace(bounds, high=None)
        self._bounds = {**self._bounds, source: bounds}

    def offset_seconds(self) -> float:
        """By how much our clock is certainly ahead of the broker's (negative: behind) that it differs from most; NaN
        before anything was observed."""
        ahead = self._clock() - self._elapsed()
        offsets = [_certain(ahead, bounds) for bounds in self._bounds.values()]
        return max(offsets, key=abs) / 1_000_000 if offsets else math.nan

    def readiness(self) -> bool | str:
        """True, or what the health page states."""
        offset = self.offset_seconds()
        if math.isnan(offset) or abs(offset) * 1_000_000 <= MAX_CLOCK_LEAD_MICROS:
            return True
        side = "ahead of" if offset > 0 else "behind"
        return f"the clock here is {abs(offset):.1f} s {side} Kafka's: synchronise both hosts (NTP)"


def _certain(ahead: int, bounds: _Bounds) -> int:
    """`ahead`: our clock less the elapsed clock."""
    behind = min(ahead - bounds.low, 0) if bounds.low is not None else 0
    return behind or (max(ahead - bounds.high, 0) if bounds.high is not None else 0)
