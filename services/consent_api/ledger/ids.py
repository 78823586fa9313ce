"""Decision ids: UUID version 7 (RFC 9562), so that they sort by time and index pages fill in order."""

from __future__ import annotations

import secrets
import threading
from uuid import UUID

_RANDOM_BITS = 74


class DecisionIds:
    """Ascending within this process, even within a millisecond or when the clock steps back. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self, now_micros: int) -> UUID:
        """A new id for a decision recorded at ``now_micros``."""
        # The top random bit stays free, so that counting up within a millisecond never overflows into the time.
        fresh = (now_micros // 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS - 1)
        with self._lock:
            self._last = max(fresh, self._last + 1)
            value = self._last
        high, low = value >> 62, value & ((1 << 62) - 1)
        millis, rand_a = high >> 12, high & 0xFFF
        return UUID(int=millis << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | low)
