"""A run goes slower when the bulk lane cannot keep up, by the rule that also refuses bulk requests: the relays, by the
lane's resolved timestamp, and the merge, by what it has read of the run itself, whose records pass no outbox."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consent_api.ledger.backlog import RESOLVED_AGE_LIMIT_SECONDS, BulkBacklog
from consent_api.outbox_relay.publisher import OffsetRange

CHECK_INTERVAL_SECONDS = 1.0
MERGE_GROUP = "suppression"
"""The merge's consumer group, without the prefix of the topics."""
_REQUEST_SECONDS = 5.0


class BulkPacing:
    """Waits between pages while the bulk lane's resolved timestamp is too old.

    Only while a relay is alive: without one nothing else is published that a run could delay, and topics that were
    created again are filled before the relays start.
    """

    def __init__(
        self,
        read: Callable[[], BulkBacklog],
        waiting: Callable[[float], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``waiting`` is called with the age of the resolved timestamp in seconds, each time before a wait."""
        self._read = read
        self._waiting = waiting
        self._sleep = sleep

    def wait(self) -> None:
        """Return when the next page may be published. LedgerUnavailableError as the ledger does."""
        while (age := self._too_old()) is not None:
            self._waiting(age)
            self._sleep(CHECK_INTERVAL_SECONDS)

    def _too_old(self) -> float | None:
        backlog = self._read()
        if backlog.relay_alive and backlog.excess_seconds > 0:
            return backlog.resolved_age_seconds
        return None


class MergePacing:
    """Waits between pages while the merge has not read what the run published more than a minute ago."""

    def __init__(
        self,
        merged: Callable[[], Mapping[int, int]],
        waiting: Callable[[float], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``merged``: by partition of the bulk topic, the offset that the merge reads next. ``waiting`` is called with
        the seconds since the page was published that it has not read, each time before a wait."""
        self._merged = merged
        self._waiting = waiting
        self._sleep = sleep
        self._clock = clock
        self._pages: deque[tuple[float, Mapping[int, OffsetRange]]] = deque()

    def published(self, offsets: Mapping[int, OffsetRange]) -> None:
        """Where a page was acknowledged, by partition."""
        self._pages.append((self._clock(), offsets))

    def wait(self) -> None:
        """Return when the next page may be published."""
        while self._age() > RESOLVED_AGE_LIMIT_SECONDS:
            merged = self._merged()
            while self._pages and _reached(self._pages[0][1], merged):
                self._pages.popleft()
            if (age := self._age()) > RESOLVED_AGE_LIMIT_SECONDS:
                self._waiting(age)
                self._sleep(CHECK_INTERVAL_SECONDS)

    def _age(self) -> float:
        return self._clock() - self._pages[0][0] if self._pages else 0.0


class MergedOffsets:
    """What the merge has committed of the bulk topic. Asked by a consumer that does not join: the admin client's
    request for a group's offsets ends the process while the group's coordinator is unavailable."""

    def __init__(self, consumer: Consumer, *, topic: str, partitions: int) -> None:
        """``consumer`` is configured with the merge's group."""
        self._consumer = consumer
        self._places = [TopicPartition(topic, each) for each in range(partitions)]

    def __call__(self) -> dict[int, int]:
        """By partition; without those of which it has read nothing, and empty when the broker does not answer."""
        try:
            found = self._consumer.committed(self._places, timeout=_REQUEST_SECONDS)
        except KafkaException:
            return {}
        return {each.partition: each.offset for each in found if each.error is None and each.offset >= 0}


def _reached(page: Mapping[int, OffsetRange], merged: Mapping[int, int]) -> bool:
    return all(merged.get(partition, 0) > landed.highest for partition, landed in page.items())
