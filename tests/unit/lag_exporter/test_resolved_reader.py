"""How old the list is for its readers, and which holes they see, by the newest record of each partition. # R63"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError
from prometheus_client import CollectorRegistry

from consent_contracts.errors import RegistryUnavailableError, UnreadableError
from consent_service.clock_check import ClockCheck
from lag_exporter.errors import BrokerUnavailableError
from lag_exporter.lag import Partition
from lag_exporter.metrics import LagMetrics
from lag_exporter.resolved import ResolvedReader

TOPIC = "suppression.resolved.v1"
SECOND = 1_000_000
NOW = 1_000 * SECOND


def datum(**changes: Any) -> dict[str, Any]:
    stated = {"resolved_at": 990 * SECOND, "bulk_resolved_at": 900 * SECOND, "inbound_resolved_at": None}
    counts = {"partition": 0, "loss": 0, "bulk_loss": 0, "lists": [], "inputs": [], "written_at": NOW}
    return {**counts, **stated, "hole": None, "channel_holes": {}, **changes}


class Rig:
    """A reader over two partitions that give what a test puts there; a value is the datum itself."""

    def __init__(self) -> None:
        self.arriving: list[Any] = []
        self.assigned: list[Any] = []
        self.fault: Exception | None = None
        self.registry = CollectorRegistry()
        self.metrics = LagMetrics.on(self.registry, age_seconds=lambda: 0.0)
        self.elapsed = 50 * SECOND
        self.check = ClockCheck(clock=lambda: NOW, elapsed=lambda: self.elapsed)
        self.reader = ResolvedReader(consumer=self, codec=self, topic=TOPIC, clock_check=self.check)  # type: ignore[arg-type]

    def record(self, partition: int, offset: int, value: Any, *, appended_at: int = NOW) -> None:
        self.arriving.append(
            SimpleNamespace(
                error=lambda: None,
                partition=lambda: partition,
                offset=lambda: offset,
                value=lambda: json.dumps(value).encode(),
                timestamp=lambda: (TIMESTAMP_LOG_APPEND_TIME, appended_at // 1_000),
            )
        )

    def end(self, partition: int) -> None:
        error = KafkaError(KafkaError._PARTITION_EOF)
        self.arriving.append(SimpleNamespace(error=lambda: error, partition=lambda: partition))

    def age(self, partition: int, lane: str) -> float | None:
        labels = {"partition": str(partition), "lane": lane}
        return self.registry.get_sample_value("consent_relay_list_resolved_age_seconds", labels)

    def hole(self, partition: int, scope: str) -> float | None:
        labels = {"partition": str(partition), "scope": scope}
        return self.registry.get_sample_value("consent_relay_list_holes_open", labels)

    def poll(self, now: int = NOW) -> None:
        self.reader.poll()
        self.metrics.show_resolved(self.reader.partitions, now)

    # The consumer.

    def list_topics(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(topics={TOPIC: SimpleNamespace(error=None, partitions={0: None, 1: None})})

    def assign(self, partitions: list[Any]) -> None:
        self.assigned = partitions

    def consume(self, *_: Any) -> list[Any]:
        arrived, self.arriving = self.arriving, []
        return arrived

    # The codec.

    def decode(self, _: str, value: bytes | None, *, read_at: float | None = None) -> Any:
        if self.fault is not None:
            raise self.fault
        return json.loads(value or b"")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_age_grows_while_nothing_arrives(rig: Rig) -> None:
    rig.record(0, 7, datum())
    rig.end(0)
    rig.poll()
    assert (rig.age(0, "live"), rig.age(0, "bulk"), rig.age(0, "inbound_live")) == (10, 100, None)
    rig.poll(NOW + 60 * SECOND)
    assert rig.age(0, "live") == 70
    assert rig.age(1, "live") is None


def test_no_list_is_younger_than_the_record_that_says_so(rig: Rig) -> None:
    rig.record(0, 7, datum(resolved_at=NOW + 3_600 * SECOND), appended_at=NOW - 5 * SECOND)
    rig.end(0)
    rig.poll()
    assert rig.age(0, "live") == 5


def test_older_records_do_not_count_before_the_end_was_read(rig: Rig) -> None:
    rig.record(0, 7, datum(hole="h1", resolved_at=None))
    rig.poll()
    assert rig.hole(0, "all") is None
    rig.record(0, 8, datum())
    rig.end(0)
    rig.poll()
    assert (rig.hole(0, "all"), rig.age(0, "live")) == (None, 10)


def test_a_hole_removes_the_age_and_is_shown_until_it_is_closed(rig: Rig) -> None:
    rig.end(0)
    rig.record(0, 8, datum(hole="h1", resolved_at=None, bulk_resolved_at=None, channel_holes={"sms": "h2"}))
    rig.poll()
    assert (rig.hole(0, "all"), rig.hole(0, "sms"), rig.age(0, "live")) == (1, 1, None)
    rig.record(0, 9, datum(channel_holes={"sms": "h2"}))
    rig.poll()
    assert (rig.hole(0, "all"), rig.hole(0, "sms"), rig.age(0, "live")) == (None, 1, 10)


@pytest.mark.parametrize("fault", [RegistryUnavailableError("unavailable"), UnreadableError("undecodable", "no")])
def test_what_cannot_be_decoded_leaves_what_was_known(rig: Rig, fault: Exception) -> None:
    rig.record(0, 7, datum())
    rig.end(0)
    rig.poll()
    rig.fault = fault
    rig.record(0, 8, datum(resolved_at=999 * SECOND))
    rig.poll()
    assert rig.age(0, "live") == 10
    rig.fault = None
    rig.record(0, 9, datum(resolved_at=998 * SECOND))
    rig.poll()
    assert rig.age(0, "live") == 2


def test_a_broker_that_is_unavailable_is_reported(rig: Rig) -> None:
    error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    rig.arriving.append(SimpleNamespace(error=lambda: error, partition=lambda: 0))
    with pytest.raises(BrokerUnavailableError, match="TOPIC_AUTHORIZATION_FAILED"):
        rig.reader.poll()


def test_records_above_an_end_that_was_asked_for_show_a_clock_that_is_ahead(rig: Rig) -> None:
    rig.end(0)
    rig.record(0, 8, datum(), appended_at=NOW - 3_600 * SECOND)
    rig.poll()
    assert rig.check.readiness() is True  # It may have been lying there for an hour.
    rig.reader.expect_from(rig.elapsed, {Partition(TOPIC, 0): 9})
    rig.elapsed += SECOND
    rig.record(0, 9, datum(), appended_at=NOW - 3_600 * SECOND)
    rig.poll()
    assert "s ahead of Kafka's" in str(rig.check.readiness())
