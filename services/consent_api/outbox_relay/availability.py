"""Which partitions of a lane's topic take records. One that does not must not stop the others: it is set aside and
tried by a loop of its own, as finding out takes a delivery time-out each time.

After an outage of the broker all are set aside. So when one of them takes records again, those are handed back too that
have failed only once: trying them one by one would take long, and one that fails again stays aside until it answers.
"""

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
        self._failures: dict[int, int] = {}
        """By partition, since it last took records; those while no other took any are one."""
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
            outage = len(self._unavailable) == len(self.all)
            for each in partitions:
                if each in fresh or not outage:
                    self._failures[each] = self._failures.get(each, 0) + 1
            for each in fresh:
                self._gauges[each].set(1)
                log.warning("a partition takes no records", extra={**self._place(each), "cause": cause})

    def answered(self, partitions: Collection[int]) -> bool:
        """All records that were sent to these partitions were acknowledged. Whether one of them was unavailable."""
        with self._lock:
            for each in partitions:
                self._failures.pop(each, None)
            again = self.all.intersection(partitions, self._unavailable)
            if again:
                handed_back = [each for each in self._unavailable if self._failures.get(each, 0) <= 1]
                for each in handed_back:
                    self._unavailable.remove(each)
                    self._gauges[each].set(0)
                    what = "a partition takes records again" if each in again else "a partition is tried again"
                    log.info(what, extra=self._place(each))
            return bool(again)

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
