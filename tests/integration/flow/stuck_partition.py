"""A publisher to a topic of which one partition takes no records."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from consent_api.outbox_relay.outbox_table import Row
from consent_api.outbox_relay.publisher import Delivery, Publisher

STUCK = 2


class PublisherWithoutLeader(Publisher):
    """As librdkafka behaves towards a partition without a leader: its records time out after a while."""

    stuck: frozenset[int] = frozenset()
    timeout_seconds = 2.0

    def publish(self, rows: Sequence[Row], *, beat: Callable[[], None], stop: Callable[[], bool]) -> Delivery:
        lost = [row for row in rows if row.partition in self.stuck]
        delivery = super().publish([row for row in rows if row not in lost], beat=beat, stop=stop)
        deadline = time.monotonic() + self.timeout_seconds
        while lost and time.monotonic() < deadline and not stop():
            time.sleep(0.05)
        delivery.failed += lost
        delivery.cause = "_MSG_TIMED_OUT" if lost else delivery.cause
        return delivery
