"""What became of each record of the inbound topics, for their producers, on a topic of its own: without addresses.

A batch is recorded in the ledger before its results are written, so a topic that takes none may delay the next batch,
but not for long: then results are lost, and counted, and submissions go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consent_api.domain.validation import Event
from consent_api.errors import FieldViolation, ResultsNotWrittenError
from consent_api.ingest.dead_letter_writer import NOT_STORABLE
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.record import Consumed
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.events import RefusedEvent
from consent_contracts.cloudevents import headers
from consent_contracts.codec import Codec
from consent_contracts.schemas import NAMESPACE

log = logging.getLogger(__name__)

PRODUCER: dict[str, Any] = {"delivery_timeout_ms": 5_000}
PATIENCE_SECONDS = 30.0
"""How long batches wait for a topic of results that takes none."""
MOST_FAULTS = 20
_WAIT_SECONDS, _BRIEF_SECONDS = 7.0, 0.05
_TYPE, _SOURCE = f"{NAMESPACE}.SubmissionResult", "/consent-relay/ingest"


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionResult:
    """What became of a record. ``tenant`` and ``event``: as far as they could be read; ``event`` without a tenant: none
    is known. ``recorded``, or else ``errors``."""

    record: Consumed
    tenant: str | None = None
    event: Event | None = None
    recorded: RecordedDecision | None = None
    outcome: str
    errors: tuple[FieldViolation, ...] = ()
    dropped: tuple[FieldViolation, ...] = ()
    dead_letter: str | None = None

    def refused_event(self, now: int) -> RefusedEvent | None:
        """What the ledger keeps of it. None: it is recorded, has no readable event id, or the database cannot hold it,
        which may be its event id."""
        if self.event is None or self.recorded is not None or self.dead_letter in (None, NOT_STORABLE):
            return None
        return RefusedEvent(
            event=self.event,
            refused_at=now,
            errors=self.errors[:MOST_FAULTS],
            dead_letter=self.dead_letter,
            topic=self.record.topic,
            partition=self.record.partition,
            offset=self.record.offset,
        )

    def datum(self, now: int) -> dict[str, Any]:
        """As the topic has it."""
        _, source, event_id = self.event or (None, None, None)
        recorded = self.recorded
        return {
            "tenant": self.tenant,
            "event_source": source,
            "event_id": event_id,
            "outcome": self.outcome,
            "decision_id": None if recorded is None else recorded.decision_id,
            "effect": None if recorded is None else recorded.outcome.effect.value,
            "superseded_by": None if recorded is None else recorded.outcome.superseded_by,
            "errors": _faults(self.errors),
            "dropped": _faults(self.dropped),
            "dead_letter": self.dead_letter,
            "topic": self.record.topic,
            "partition": self.record.partition,
            "offset": self.record.offset,
            "handled_at": now,
        }


class ResultWriter:
    """Writes results in batches. Repeating one is harmless: its ce_id is the place of the record."""

    def __init__(
        self,
        *,
        producer: Producer,
        codec: Codec,
        topic: str,
        metrics: IngestMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = producer
        self._codec = codec
        self._topic = topic
        self._metrics = metrics
        self._clock = clock
        self._failing_since: float | None = None

    def write(self, results: Sequence[SubmissionResult], *, now: int) -> None:
        """Returns once the broker has acknowledged all of them, or none for `PATIENCE_SECONDS`: until it does again,
        those that it has not are lost. Raises ResultsNotWrittenError."""
        lost, cause = self._send(results, now, _BRIEF_SECONDS if self._given_up else _WAIT_SECONDS)
        if not lost:
            self._failing_since = None
            return
        if self._failing_since is None:
            self._failing_since = self._clock()
        if not self._given_up:
            raise ResultsNotWrittenError(cause)
        self._metrics.results_lost.labels(results[0].record.topic).inc(lost)
        log.error("results of submissions are lost", extra={"topic": self._topic, "count": lost, "error": cause})

    @property
    def _given_up(self) -> bool:
        return self._failing_since is not None and self._clock() - self._failing_since >= PATIENCE_SECONDS

    def _send(self, results: Sequence[SubmissionResult], now: int, seconds: float) -> tuple[int, str]:
        """How many the broker has not acknowledged, and why."""
        acknowledged, cause = 0, "no answer"
        fatal: KafkaError | None = None

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            nonlocal acknowledged, cause, fatal
            if error is None:
                acknowledged += 1
            else:
                cause, fatal = error.name(), error if error.fatal() else fatal

        for each in results:
            place = each.record.coordinates
            key = place if each.event is None else each.event[2]
            value = self._codec.encode(self._topic, each.datum(now))
            about = headers(event_id=place, event_type=_TYPE, source=_SOURCE, time_micros=now)
            try:
                self._producer.produce(self._topic, value, key.encode(), on_delivery=on_delivery, headers=[*about])
            except BufferError:
                cause = "the queue is full"
                break
            except KafkaException as refused:
                cause = refused.args[0].name()
                # Of a producer that is beyond recovery, without its flag.
                if refused.args[0].code() == KafkaError._FATAL:
                    fatal = refused.args[0]
        self._producer.flush(seconds)
        if fatal is not None:
            # Beyond recovery for this producer: the process that takes our place begins with a new one.
            raise KafkaException(fatal)
        return len(results) - acknowledged, cause


def _faults(found: Sequence[FieldViolation]) -> list[dict[str, str]]:
    return [{"field": each.pointer, "code": each.code, "cure": each.cure} for each in found[:MOST_FAULTS]]
