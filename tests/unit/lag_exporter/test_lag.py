"""What the broker knows of groups, as lag in records and in seconds (R39)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consent_service.health import Health
from lag_exporter.app import LagMonitor
from lag_exporter.errors import BrokerUnavailableError
from lag_exporter.lag import Bounds, LagReader, Partition

CHANGES = "consent.changes.v1"
P0 = Partition(CHANGES, 0)


class FakeBroker:
    """Groups with offsets, and partitions whose records have timestamps by offset."""

    def __init__(self) -> None:
        self.offsets: dict[str, dict[Partition, int]] = {}
        self.ends: dict[Partition, Bounds] = {}
        self.records: dict[Partition, dict[int, int]] = {}
        self.looked_at: list[Mapping[Partition, int]] = []
        self.unavailable = False
        self.now = 0.0
        self.known: list[str] = []
        self.silent: set[Partition] = set()

    def groups(self, prefix: str) -> list[str]:
        if self.unavailable:
            raise BrokerUnavailableError("no answer")
        return [group for group in self.offsets if group.startswith(prefix)]

    def partitions(self, topics: Collection[str]) -> list[Partition]:
        return [place for place in self.ends if place.topic in topics]

    def committed(self, group: str, places: Collection[Partition]) -> Mapping[Partition, int]:
        return {place: at for place, at in self.offsets[group].items() if place in places}

    def forget(self, groups: Collection[str]) -> None:
        self.known = list(groups)

    def bounds(self, places: Iterable[Partition]) -> Mapping[Partition, Bounds]:
        return {place: self.ends[place] for place in places if place in self.ends}

    def oldest_timestamps(
        self, positions: Mapping[Partition, int], *, committed: bool
    ) -> Mapping[Partition, int | None]:
        self.looked_at.append(positions)
        found: dict[Partition, int | None] = {}
        for place, position in positions.items():
            end = self.ends[place].stable if committed else self.ends[place].end
            ahead = [at for offset, at in sorted(self.records.get(place, {}).items()) if position <= offset < end]
            if place not in self.silent:
                found[place] = ahead[0] if ahead else None
        return found


@pytest.fixture
def broker() -> FakeBroker:
    made = FakeBroker()
    made.offsets["acme.suppression"] = {P0: 10}
    made.ends[P0] = Bounds(low=0, stable=14, end=14)
    made.records[P0] = {12: 95_000, 13: 99_000}
    return made


def nothing_resolved() -> Any:
    return SimpleNamespace(partitions={}, expect_from=lambda *_: None, poll=lambda: None)


def lags(broker: FakeBroker) -> LagReader:
    return LagReader(broker=broker, prefix="acme.", topics=frozenset({CHANGES}), clock=lambda: broker.now)


def test_lag_is_counted_to_the_end_and_aged_by_the_oldest_record(broker: FakeBroker) -> None:
    [lag] = lags(broker).read(100.0).lags
    assert (lag.group, lag.topic, lag.partition) == ("acme.suppression", CHANGES, 0)
    assert (lag.records, lag.seconds) == (4, 5.0)


def test_position_below_an_end_of_markers_and_holes_is_no_lag(broker: FakeBroker) -> None:
    broker.offsets["acme.suppression"] = {P0: 14}
    broker.ends[P0] = Bounds(low=0, stable=17, end=17)
    [lag] = lags(broker).read(100.0).lags
    assert (lag.records, lag.seconds) == (0, 0.0)


def test_group_that_never_committed_lags_from_the_beginning(broker: FakeBroker) -> None:
    broker.offsets["acme.suppression"] = {P0: -1}
    broker.ends[P0] = Bounds(low=11, stable=14, end=14)
    [lag] = lags(broker).read(100.0).lags
    assert (lag.records, lag.seconds) == (3, 5.0)


def test_records_that_stay_the_oldest_are_read_once(broker: FakeBroker) -> None:
    watching = lags(broker)
    watching.read(100.0)
    broker.ends[P0] = Bounds(low=0, stable=20, end=20)
    [lag] = watching.read(160.0).lags
    assert (lag.records, lag.seconds) == (10, 65.0)
    assert len(broker.looked_at) == 1


def test_other_installations_and_foreign_topics_are_not_shown(broker: FakeBroker) -> None:
    broker.offsets["other.suppression"] = {P0: 0}
    broker.offsets["acme.tool"] = {Partition("their.topic", 0): 0}
    assert [lag.group for lag in lags(broker).read(100.0).lags] == ["acme.suppression"]


@pytest.mark.parametrize("name", ["suppression-crm", "campaign-tool", "console-consumer-1", "propagator"])
def test_the_groups_of_tools_that_read_our_topics_are_not_shown(broker: FakeBroker, name: str) -> None:
    broker.offsets[f"acme.{name}"] = {P0: 0}
    assert [lag.group for lag in lags(broker).read(100.0).lags] == ["acme.suppression"]


@pytest.mark.parametrize("name", ["consent-api-inbound", "consent-api-inbound-bulk", "propagator.default"])
def test_every_group_of_ours_is_shown(broker: FakeBroker, name: str) -> None:
    broker.offsets[f"acme.{name}"] = {P0: 0}
    assert f"acme.{name}" in {lag.group for lag in lags(broker).read(100.0).lags}


def test_deleted_topic_is_left_out(broker: FakeBroker) -> None:
    del broker.ends[P0]
    assert lags(broker).read(100.0).lags == []


def test_records_behind_an_open_transaction_are_lag(broker: FakeBroker) -> None:  # R39
    broker.offsets["acme.suppression"] = {P0: 12}
    broker.ends[P0] = Bounds(low=0, stable=12, end=14)
    [lag] = lags(broker).read(100.0).lags
    assert (lag.records, lag.seconds) == (2, 5.0)


def test_what_is_readable_before_an_open_transaction_is_the_oldest(broker: FakeBroker) -> None:
    broker.ends[P0] = Bounds(low=0, stable=13, end=14)
    [lag] = lags(broker).read(100.0).lags
    assert (lag.records, lag.seconds) == (4, 5.0)
    broker.records[P0] = {13: 99_000}
    [lag] = lags(broker).read(100.0).lags
    assert (lag.records, lag.seconds) == (4, 1.0)


def test_a_last_stable_offset_that_does_not_advance_is_named_after_a_minute(broker: FakeBroker) -> None:
    watching = lags(broker)
    broker.ends[P0] = Bounds(low=0, stable=12, end=14)
    assert watching.read(100.0).stable_seconds == {P0: 0.0}
    broker.now = 61.0
    found = watching.read(161.0)
    assert found.stable_seconds == {P0: 61.0}
    [hidden] = found.open_transactions
    assert (hidden.topic, hidden.partition, hidden.offset, hidden.seconds) == (CHANGES, 0, 12, 61.0)
    broker.ends[P0] = Bounds(low=0, stable=14, end=14)
    assert watching.read(162.0).stable_seconds == {P0: 0.0}


def test_transactions_that_come_and_go_are_no_open_transaction(broker: FakeBroker) -> None:
    watching = lags(broker)
    for second in range(0, 200, 2):
        broker.now = float(second)
        broker.ends[P0] = Bounds(low=0, stable=12 + second, end=14 + second)
        found = watching.read(100.0 + second)
        assert found.stable_seconds == {P0: 0.0}
        assert found.open_transactions == []


def test_a_partition_no_group_commits_for_is_watched_too(broker: FakeBroker) -> None:
    broker.offsets.clear()
    broker.ends[P0] = Bounds(low=0, stable=12, end=14)
    watching = lags(broker)
    watching.read(100.0)
    broker.now = 3.0
    assert watching.read(103.0).stable_seconds == {P0: 3.0}


def test_figures_that_cannot_be_refreshed_are_shown_no_more(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()
    watch = LagMonitor(lags(broker), nothing_resolved(), Health(expected=["broker"]), registry)
    watch.poll()
    labels = {"topic": CHANGES, "partition": "0"}
    assert registry.get_sample_value("consent_relay_last_stable_offset_stalled_seconds", labels) == 0
    broker.unavailable = True
    monkeypatch.setattr("lag_exporter.app.STALE_SECONDS", -1.0)
    watch.poll()
    assert registry.get_sample_value("consent_relay_last_stable_offset_stalled_seconds", labels) is None
    labels["group"] = "acme.suppression"
    assert registry.get_sample_value("consent_relay_consumer_lag_records", labels) is None


def test_vanished_group_is_shown_no_more_and_an_absent_broker_ends_nothing(broker: FakeBroker) -> None:
    registry, health = CollectorRegistry(), Health(expected=["broker"])
    watch = LagMonitor(lags(broker), nothing_resolved(), health, registry)
    labels = {"group": "acme.suppression", "topic": CHANGES, "partition": "0"}
    watch.poll()
    assert registry.get_sample_value("consent_relay_consumer_lag_records", labels) == 4
    assert health.readiness() == (True, [])
    broker.unavailable = True
    watch.poll()
    assert registry.get_sample_value("consent_relay_consumer_lag_records", labels) == 4
    assert registry.get_sample_value("consent_relay_consumer_lag_scrapes_total", {"outcome": "failed"}) == 1
    broker.unavailable = False
    del broker.offsets["acme.suppression"]
    watch.poll()
    assert registry.get_sample_value("consent_relay_consumer_lag_records", labels) is None
    assert registry.get_sample_value("consent_relay_consumer_lag_groups") == 0
    assert broker.known == []


def test_a_lag_that_cannot_be_found_out_is_shown_no_more_and_others_are(broker: FakeBroker) -> None:  # R39
    p1 = Partition(CHANGES, 1)
    broker.offsets["acme.suppression"] = {P0: 10, p1: 10}
    broker.ends[p1] = broker.ends[P0]
    broker.records[p1] = dict(broker.records[P0])
    broker.silent = {P0}
    [lag] = lags(broker).read(100.0).lags
    assert (lag.partition, lag.records) == (1, 4)


def test_what_an_open_transaction_hides_and_cannot_be_read_is_no_lag_of_nothing(broker: FakeBroker) -> None:
    broker.records[P0] = {13: 99_000}
    broker.ends[P0] = Bounds(low=0, stable=12, end=14)
    watching = lags(broker)
    answers = broker.oldest_timestamps
    broker.oldest_timestamps = lambda positions, *, committed: answers(positions, committed=True) if committed else {}  # type: ignore[method-assign]
    assert watching.read(100.0).lags == []


def test_the_number_of_groups_is_unknown_while_no_broker_answers(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()
    watch = LagMonitor(lags(broker), nothing_resolved(), Health(expected=["broker"]), registry)
    watch.poll()
    assert registry.get_sample_value("consent_relay_consumer_lag_groups") == 1
    broker.unavailable = True
    monkeypatch.setattr("lag_exporter.app.STALE_SECONDS", -1.0)
    watch.poll()
    assert math.isnan(registry.get_sample_value("consent_relay_consumer_lag_groups") or 0.0)
