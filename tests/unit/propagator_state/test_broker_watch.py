"""A propagator is not ready while a transaction hides records from it, or its host's clock is wrong. # R41, R63"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from consent_service.health import Health
from consent_state import RestoreFailedError, TopicPartition
from propagator.state import broker_watch
from propagator.state.broker_watch import BrokerWatch

SMS = TopicPartition("suppression.sms.v1", 2)
RESOLVED = TopicPartition("suppression.resolved.v1", 2)


class Broker:
    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] = {SMS: 9, RESOLVED: 20}
        self.stable = dict(self.ends)
        self.unavailable = False
        self.now = 0.0

    def answer(self, which: str) -> Callable[..., dict[TopicPartition, int]]:
        def offsets(_: Any, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
            if self.unavailable:
                raise RestoreFailedError("no answer")
            return {at: getattr(self, which)[at] for at in partitions}

        return offsets


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(broker_watch, "high_watermarks", broker.answer("ends"))
    monkeypatch.setattr(broker_watch, "last_stable_offsets", broker.answer("stable"))
    return broker


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def watch(broker: Broker, health: Health) -> BrokerWatch:
    return BrokerWatch(None, health, clock=lambda: broker.now)  # type: ignore[arg-type]


def look(watch: BrokerWatch, broker: Broker, times: int = 8) -> None:
    """Every ten seconds."""
    for _ in range(times):
        broker.now += 10
        watch.look([SMS, RESOLVED])


def message(offset: int, *, ahead: float) -> Any:
    """One that the broker appended now, by a clock that is so many seconds ahead of ours."""
    millis = int((time.time() + ahead) * 1_000)
    return SimpleNamespace(offset=lambda: offset, timestamp=lambda: (TIMESTAMP_LOG_APPEND_TIME, millis))


def test_it_is_ready_while_all_can_be_read(watch: BrokerWatch, health: Health, broker: Broker) -> None:
    look(watch, broker)
    assert health.readiness() == (True, [])


def test_an_open_transaction_is_named_until_it_ends(watch: BrokerWatch, health: Health, broker: Broker) -> None:
    broker.stable[SMS] = 5
    look(watch, broker)
    [reason] = health.readiness()[1]
    assert reason.startswith(
        "transactions: an open transaction on suppression.sms.v1/2 hides the records from offset 5"
    )
    broker.unavailable = True
    look(watch, broker)
    assert health.readiness()[1] != []  # Nothing is known to be better.
    broker.unavailable, broker.stable[SMS] = False, 9
    look(watch, broker)
    assert health.readiness() == (True, [])


def test_our_own_transactions_come_and_go(watch: BrokerWatch, health: Health, broker: Broker) -> None:
    for offset in range(5, 9):
        broker.stable[SMS] = offset
        look(watch, broker, times=1)
        assert health.readiness() == (True, [])


@pytest.mark.parametrize(("ahead", "side"), [(3_600, "behind"), (-3_600, "ahead of")])
def test_a_clock_that_differs_from_the_brokers_is_named(
    watch: BrokerWatch, health: Health, broker: Broker, ahead: float, side: str
) -> None:
    look(watch, broker)
    watch.read(RESOLVED, [message(19, ahead=-3_600)])
    assert health.readiness() == (True, [])  # An old record is old by nature.
    watch.read(RESOLVED, [message(20, ahead=ahead)])
    [reason] = health.readiness()[1]
    assert reason.startswith("clock: the clock here is 3")
    assert f"s {side} Kafka's: synchronise both hosts (NTP)" in reason
