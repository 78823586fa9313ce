"""Which partitions are set aside, and how they come back."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from consent_api.outbox_relay.availability import PartitionAvailability
from consent_api.outbox_relay.metrics import RelayMetrics

COUNT = 48


def availability() -> PartitionAvailability:
    metrics = RelayMetrics.on(CollectorRegistry())
    return PartitionAvailability(topic="t", partitions=COUNT, unavailable=metrics.unavailable)


def test_after_an_outage_of_the_broker_the_first_that_answers_hands_all_back() -> None:
    partitions = availability()
    partitions.failed(range(COUNT), "timed out")
    for _ in range(10):
        partitions.failed(partitions.next_unavailable(), "timed out")
    assert partitions.available() == frozenset()
    assert partitions.answered(partitions.next_unavailable())
    assert partitions.available() == partitions.all


def test_one_that_fails_again_waits_until_it_answers_itself() -> None:
    partitions = availability()
    partitions.failed(range(COUNT), "timed out")
    partitions.answered({0})
    partitions.failed({7, 8}, "timed out")
    partitions.answered({8})
    assert partitions.available() == partitions.all - {7}
    partitions.failed({8}, "timed out")
    partitions.answered({8})
    assert partitions.available() == partitions.all - {7}
    partitions.answered({7})
    assert partitions.available() == partitions.all


def test_one_that_does_not_answer_while_others_do_is_not_handed_back_with_them() -> None:
    partitions = availability()
    partitions.failed({3, 4}, "timed out")
    partitions.failed({3}, "timed out")
    assert not partitions.answered({5})
    partitions.answered({4})
    assert partitions.available() == partitions.all - {3}
    assert partitions.next_unavailable() == {3}
