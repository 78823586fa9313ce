"""Which partitions of a lane's topic take records. One that does not must not stop the others: it is set aside and
tried by a loop of its own, as finding out takes a delivery time-out each time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

from prometheus_client import Gauge

log = logging.getLogger(__name__)


class PartitionAvailability:
    """Shared by a lane's two loops: one publishes to the partitions that take records, one tries the others."""

    def __init__(self, *, topic: str, partitions: int, unavailable: Gauge) -> None:
        """`partitions`: how many. `unavailable` is 1 for each that does not take records."""
        self._topic = topic
        self.all = frozenset(range(partitions))
        self._lock = threading.Lock()
        self._unavailable: list[int] = []
        self._gauges = {each: unavailable.labels(topic, str(each)) for each in self.all}

    def available(self) -> frozenset[int]:
        return self.all.difference(self._unavailable)

    def next_unavailable(self) -> frozenset[int]:
        """One of them, another each time, so that none waits for one time-out after the other; empty: there is none."""
        with self._lock:
            if not self._unavailable:
                return frozenset()
            self._unavailable.append(self._unavailable.pop(0))
            return frozenset(self._unavailable[-1:])

    def failed(self, partitions: Collection[int], cause: str | None) -> None:
        """Records of these partitions were not acknowledged."""
        with self._lock:
            fresh = [each for each in sorted(partitions) if each not in self._unavailable]
            self._unavailable += fresh
            for each in fresh:
                self._gauges[each].set(1)
                log.warning("a partition takes no records", extra={**self._place(each), "cause": cause})

    def answered(self, partitions: Collection[int]) -> None:
        """All records that were sent to these partitions were acknowledged."""
        with self._lock:
            for each in self.all.intersection(partitions, self._unavailable):
                self._unavailable.remove(each)
                self._gauges[each].set(0)
                log.info("a partition takes records again", extra=self._place(each))

    def readiness(self) -> bool | str:
        """True, or what the health page states."""
        with self._lock:
            unavailable = sorted(self._unavailable)
        if not unavailable:
            return True
        if len(unavailable) == len(self.all):
            return "the broker does not answer"
        return f"the broker takes no records of {', '.join(f'{self._topic}:{each}' for each in unavailable)}"

    def _place(self, partition: int) -> dict[str, object]:
        return {"topic": self._topic, "partition": partition}
