"""What was decoded last, by its bytes: most values are decoded two or three times within a second or two (read,
delivered, read back)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class RecentValues(Generic[T]):
    """The newest values, encoded in `max_bytes` at most, as one value may be a thousand times as large as another.

    Used by several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """None: it is not kept."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def keep(self, key: Hashable, value: T, size: int) -> None:
        """`size`: of the encoded value, in bytes."""
        with self._lock:
            if key in self._values:  # Another thread was faster.
                return
            self._values[key] = (value, size)
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, dropped) = self._values.popitem(last=False)
                self._bytes -= dropped
