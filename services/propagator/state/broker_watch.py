"""What hinders the reader of the tables without showing in them: transactions that were left open on its topics, and a
host clock that differs from the brokers'."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka.admin import AdminClient

from consent_kafka.clients import append_time
from consent_kafka.stall_detector import StallDetector
from consent_service.clock import elapsed_micros
from consent_service.clock_check import ClockCheck
from consent_service.health import Health
from consent_service.stall_timer import STALLED_SECONDS
from consent_state import RestoreFailedError, TopicPartition, high_watermarks, last_stable_offsets

log = logging.getLogger(__name__)

TRANSACTIONS = "transactions"
CLOCK = "clock"


class BrokerWatch:
    """Used by the reader thread; the clock is asked by the health page too."""

    def __init__(
        self,
        admin: AdminClient,
        health: Health,
        *,
        bound: float = STALLED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`bound`: the seconds after which a transaction that hides records makes the process unready."""
        self._admin = admin
        self._health = health
        self._new_stall_detector = partial(StallDetector, bound=bound, clock=clock)
        self._stalls: dict[TopicPartition, StallDetector] = {}
        self._asked: dict[TopicPartition, tuple[int, int]] = {}
        self.clock_check = ClockCheck()
        health.watch(CLOCK, self.clock_check.readiness)

    def look(self, partitions: Sequence[TopicPartition]) -> None:
        """Ask where these end, and up to where they can be read. Without an answer all stays as it is known."""
        asked_at = elapsed_micros()
        try:
            # In this order: what lies between the two is hidden, not younger.
            ends = high_watermarks(self._admin, partitions)
            stable = last_stable_offsets(self._admin, partitions)
        except RestoreFailedError as error:
            log.warning("whether transactions were left open is not known", extra={"error": str(error)})
            return
        self._asked = {at: (asked_at, end) for at, end in ends.items()}
        for at, end in ends.items():
            if at not in self._stalls:
                self._stalls[at] = self._new_stall_detector(*at)
            self._stalls[at].last_stable(stable[at], end=end)
        reasons = (each.reason() for each in self._stalls.values())
        self._health.set_ready(TRANSACTIONS, "; ".join(filter(None, reasons)) or True)

    def read(self, at: TopicPartition, messages: Sequence[Any]) -> None:
        """These were read now: they were appended by now, and those above the end that was asked for, since then."""
        if not messages:
            return
        newest = messages[-1]
        appended_at = append_time(newest)
        if appended_at is not None:
            asked_at, end = self._asked.get(at, (0, newest.offset() + 1))
            self.clock_check.observe(at, appended_at, not_before=asked_at if newest.offset() >= end else None)
