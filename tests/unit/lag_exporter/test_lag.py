"""What the broker knows of groups, as lag in records and in seconds (R39)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pytest
from prometheus_client import CollectorRegistry

from consent_runtime.observability import Health
from lag_exporter.app import Watch
from lag_exporter.lag import Bounds, BrokerAway, Lags, Place

CHANGES = "consent.changes.v1"
P0 = Place(CHANGES, 0)


class FakeBroker:
    """Groups with offsets, and partitions whose records have timestamps by offset."""

    def __init__(self) -> None:
        self.offsets: dict[str, dict[Place, int]] = {}
        self.ends: dict[Place, Bounds] = {}
        self.records: dict[Place, dict[int, int]] = {}
        self.looked_at: list[Mapping[Place, int]] = []
        self.away = False
        self.known: list[str] = []

    def groups(self, prefix: str) -> list[str]:
        if self.away:
            raise BrokerAway("no answer")
        return [group for group in self.offsets if group.startswith(prefix)]

    def places(self, topics: Collection[str]) -> list[Place]:
        return [place for place in self.ends if place.topic in topics]

    def committed(self, group: str, places: Collection[Place]) -> Mapping[Place, int]:
        return {place: at for place, at in self.offsets[group].items() if place in places}

    def forget(self, groups: Collection[str]) -> None:
        self.known = list(groups)

    def bounds(self, places: Iterable[Place]) -> Mapping[Place, Bounds]:
        return {place: self.ends[place] for place in places if place in self.ends}

    def oldest(self, positions: Mapping[Place, int]) -> Mapping[Place, int | None]:
        self.looked_at.append(positions)
        found = {}
        for place, position in positions.items():
            ahead = [at for offset, at in sorted(self.records.get(place, {}).items()) if offset >= position]
            found[place] = ahead[0] if ahead else None
        return found


@pytest.fixture
def broker() -> FakeBroker:
    made = FakeBroker()
    made.offsets["acme.suppression"] = {P0: 10}
    made.ends[P0] = Bounds(low=0, end=14)
    made.records[P0] = {12: 95_000, 13: 99_000}
    return made


def lags(broker: FakeBroker) -> Lags:
    return Lags(broker=broker, prefix="acme.", topics=frozenset({CHANGES}))


def test_lag_is_counted_to_the_end_and_aged_by_the_oldest_record(broker: FakeBroker) -> None:
    [lag] = lags(broker).look(100.0)
    assert (lag.group, lag.topic, lag.partition) == ("acme.suppression", CHANGES, 0)
    assert (lag.records, lag.seconds) == (4, 5.0)


def test_position_below_an_end_of_markers_and_holes_is_no_lag(broker: FakeBroker) -> None:
    broker.offsets["acme.suppression"] = {P0: 14}
    broker.ends[P0] = Bounds(low=0, end=17)
    [lag] = lags(broker).look(100.0)
    assert (lag.records, lag.seconds) == (0, 0.0)


def test_group_that_never_committed_lags_from_the_beginning(broker: FakeBroker) -> None:
    broker.offsets["acme.suppression"] = {P0: -1}
    broker.ends[P0] = Bounds(low=11, end=14)
    [lag] = lags(broker).look(100.0)
    assert (lag.records, lag.seconds) == (3, 5.0)


def test_records_that_stay_the_oldest_are_read_once(broker: FakeBroker) -> None:
    watching = lags(broker)
    watching.look(100.0)
    broker.ends[P0] = Bounds(low=0, end=20)
    [lag] = watching.look(160.0)
    assert (lag.records, lag.seconds) == (10, 65.0)
    assert len(broker.looked_at) == 1


def test_other_installations_and_foreign_topics_are_not_shown(broker: FakeBroker) -> None:
    broker.offsets["other.suppression"] = {P0: 0}
    broker.offsets["acme.tool"] = {Place("their.topic", 0): 0}
    assert [lag.group for lag in lags(broker).look(100.0)] == ["acme.suppression"]


def test_deleted_topic_is_left_out(broker: FakeBroker) -> None:
    del broker.ends[P0]
    assert lags(broker).look(100.0) == []


def test_vanished_group_is_shown_no_more_and_an_absent_broker_ends_nothing(broker: FakeBroker) -> None:
    registry, health = CollectorRegistry(), Health(expected=["broker"])
    watch = Watch(lags(broker), health, registry)
    labels = {"group": "acme.suppression", "topic": CHANGES, "partition": "0"}
    watch.turn()
    assert registry.get_sample_value("consent_relay_consumer_lag_records", labels) == 4
    assert health.check() == (True, [])
    broker.away = True
    watch.turn()
    assert registry.get_sample_value("consent_relay_consumer_lag_records", labels) == 4
    assert registry.get_sample_value("consent_relay_consumer_lag_scrapes_total", {"outcome": "failed"}) == 1
    broker.away = False
    del broker.offsets["acme.suppression"]
    watch.turn()
    assert registry.get_sample_value("consent_relay_consumer_lag_records", labels) is None
    assert registry.get_sample_value("consent_relay_consumer_lag_groups") == 0
    assert broker.known == []
