"""Results are acknowledged before a batch is done, but a topic that takes none delays submissions for a while only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry

from consent_api.errors import FieldViolation, ResultsNotWrittenError
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.record import Consumed
from consent_api.ingest.results import PATIENCE_SECONDS, ResultWriter, SubmissionResult

EVENT = ("acme", "crm", "e1")


class FakeProducer:
    def __init__(self) -> None:
        self.error: KafkaError | None = None
        self.flushed: list[float] = []
        self.written: list[tuple[bytes, dict[str, Any]]] = []
        self._waiting: list[Callable[..., None]] = []

    def produce(self, topic: str, value: Any, key: bytes, *, on_delivery: Any, headers: Any) -> None:
        self.written.append((key, value))
        self._waiting.append(on_delivery)

    def flush(self, seconds: float) -> int:
        self.flushed.append(seconds)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each(self.error, None)
        return 0


class Given:
    def encode(self, topic: str, datum: dict[str, Any]) -> dict[str, Any]:
        return datum


class Rig:
    def __init__(self) -> None:
        self.now, self.producer, self.registry = 0.0, FakeProducer(), CollectorRegistry()
        self.writer = ResultWriter(
            producer=self.producer,  # type: ignore[arg-type]
            codec=Given(),  # type: ignore[arg-type]
            topic="consent.results.v1",
            metrics=IngestMetrics.on(self.registry),
            clock=lambda: self.now,
        )

    @property
    def lost(self) -> float:
        return self.registry.get_sample_value("consent_relay_ingest_results_lost_total", {"topic": "in"}) or 0.0

    def write(self, **changes: Any) -> None:
        record = Consumed(topic="in", partition=1, offset=7, timestamp=1, key=None, value=b"", headers=())
        self.writer.write([SubmissionResult(record=record, outcome="refused", **changes)], now=5)


def test_a_result_is_keyed_by_its_event_or_by_its_place() -> None:
    rig = Rig()
    rig.write(event=EVENT, tenant="acme")
    rig.write()
    assert [key for key, _ in rig.producer.written] == [b"e1", b"in:1:7"]
    assert [value["event_source"] for _, value in rig.producer.written] == ["crm", None]


def test_a_result_lists_twenty_faults() -> None:
    rig = Rig()
    rig.write(errors=(FieldViolation(pointer="/a", code="b", cure="c"),) * 50)
    [(_, value)] = rig.producer.written
    assert len(value["errors"]) == 20


def test_a_topic_that_takes_none_delays_a_batch_and_then_no_longer() -> None:
    rig = Rig()
    rig.producer.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    for rig.now in (0.0, PATIENCE_SECONDS - 1):
        with pytest.raises(ResultsNotWrittenError):
            rig.write()
    assert rig.lost == 0
    for rig.now in (PATIENCE_SECONDS, PATIENCE_SECONDS + 1):
        rig.write()
    assert rig.lost == 2
    assert rig.producer.flushed[-1] < 1, "it is not waited for any more"
    rig.producer.error = None
    rig.write()
    rig.producer.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    with pytest.raises(ResultsNotWrittenError):
        rig.write()
    assert rig.lost == 2


def test_a_producer_beyond_recovery_ends_the_loop() -> None:
    rig = Rig()
    rig.producer.error = KafkaError(KafkaError._FATAL, "fenced", True)
    with pytest.raises(KafkaException):
        rig.write()
