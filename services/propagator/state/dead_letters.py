"""Entries that can never be read, on their way to the dead letters, from the reader thread."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial

from consent_contracts.errors import UnreadableError
from consent_kafka.dead_letters import DeadLetterProducer
from consent_kafka.errors import DeliveryFailedError
from consent_service.errors import RetryStoppedError
from consent_service.retry import Backoff, Failure, retry
from consent_state import RestoreStoppedError, TopicPartition

log = logging.getLogger(__name__)

_BACKOFF = Backoff((1.0,))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class DeadLetterReporter:
    """Every replica reports what it meets: duplicates are harmless, and no standby relies on another."""

    def __init__(self, letters: DeadLetterProducer, stopping: threading.Event) -> None:
        self._letters = letters
        self._stopping = stopping

    def report(
        self,
        at: TopicPartition,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        append_time: int,
        error: Exception,
    ) -> None:
        """Returns once the broker has acknowledged; waits for a broker that is unavailable. Raises
        RestoreStoppedError."""
        record = _Record(
            topic=at.topic,
            partition=at.partition,
            offset=offset,
            timestamp=append_time // 1_000,
            key=key,
            value=value,
        )
        reason = error.reason if isinstance(error, UnreadableError) else "invalid_record"
        send = partial(self._letters.send, record, reason, str(error))
        try:
            retry(send, on=DeliveryFailedError, backoff=_BACKOFF, stop=self._stopping, report=_report)
        except RetryStoppedError:
            raise RestoreStoppedError("stopped before a dead letter was acknowledged") from None


def _report(failure: Failure[DeliveryFailedError]) -> None:
    log.warning("dead letter not written yet", extra={"code": failure.error.code})
