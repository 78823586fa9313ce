"""Lag, freshness and the brokers' clock: what is judged a fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent_service.doctor.findings import Result
from lag_exporter.doctor import Look, judge_clock, judge_freshness, judge_lag
from lag_exporter.lag import Lag, Partition
from lag_exporter.resolved import PartitionResolved

NOW = 1_800_000_000_000_000
FRESH = PartitionResolved(resolved_at={"live": NOW - 1_000_000, "bulk": NOW - 2_000_000}, holes={})
LOOK = Look(
    lags=[Lag(group="suppression", topic="consent.changes.v1", partition=0, records=0, seconds=0.0)],
    hidden_seconds={},
    resolved={0: FRESH, 1: FRESH},
    partitions=2,
    now=NOW,
    decodable=True,
    clock=True,
)


def test_an_installation_that_keeps_up_has_one_line_each() -> None:
    findings = [*judge_lag(LOOK), *judge_freshness(LOOK), judge_clock(LOOK)]
    assert [(each.name, each.result) for each in findings] == [
        ("lag", Result.OK),
        ("freshness of the lists", Result.OK),
        ("clock of Kafka", Result.OK),
    ]
    assert findings[1].found == "bulk 2.0 s, live 1.0 s"


def test_a_group_that_is_late_is_named_with_its_records() -> None:
    late = [replace(LOOK.lags[0], partition=number, records=5, seconds=50.0 + 20 * number) for number in (0, 1)]
    [found] = judge_lag(replace(LOOK, lags=late))
    assert found.result is Result.WARNING
    assert found.found == "group suppression has up to 10 records to read, the oldest 70 s old"


@pytest.mark.parametrize(("seconds", "result"), [(10.0, Result.OK), (61.0, Result.FAULT)])
def test_a_transaction_that_is_left_open_is_a_fault_and_one_of_ours_is_none(seconds: float, result: Result) -> None:
    [found] = judge_lag(replace(LOOK, hidden_seconds={Partition("consent.inbound.v1", 3): seconds}))
    assert found.result is result
    if result is Result.FAULT:
        assert "consent.inbound.v1/3" in found.found


@pytest.mark.parametrize(
    ("lane", "seconds", "result"),
    [
        ("live", 20, Result.OK),
        ("live", 21, Result.WARNING),
        ("live", 31, Result.FAULT),
        ("inbound_live", 61, Result.FAULT),
        ("bulk", 61, Result.OK),
        ("bulk", 901, Result.FAULT),
    ],
)
def test_a_list_is_stale_before_readers_deny(lane: str, seconds: int, result: Result) -> None:
    stale = PartitionResolved(resolved_at={**FRESH.resolved_at, lane: NOW - seconds * 1_000_000}, holes={})
    [found] = judge_freshness(replace(LOOK, resolved={0: FRESH, 1: stale}))
    assert found.result is result


def test_partitions_without_timestamps_and_holes_are_faults() -> None:
    holed = replace(FRESH, holes={"sms": "an id"})
    missing, hole = judge_freshness(replace(LOOK, resolved={0: holed}))
    assert (missing.result, hole.result) == (Result.FAULT, Result.FAULT)
    assert missing.found == "nothing is known of 1 of 2 partitions: readers deny"
    assert hole.found == "Kafka has lost records of partition 0, sms: readers deny"


def test_without_the_registry_freshness_is_not_checked_and_lag_is() -> None:
    look = replace(LOOK, resolved={}, decodable=False)
    assert [each.result for each in judge_freshness(look)] == [Result.NOT_CHECKED]
    assert [each.result for each in judge_lag(look)] == [Result.OK]


def test_the_brokers_clock_is_not_known_where_nothing_was_appended() -> None:
    assert judge_clock(replace(LOOK, clock=None)).result is Result.NOT_CHECKED
    found = judge_clock(replace(LOOK, clock="the clock here is 5.0 s behind Kafka's: synchronise both hosts (NTP)"))
    assert (found.result, found.found) == (Result.FAULT, "the clock here is 5.0 s behind Kafka's")
    assert found.cure == "synchronise both hosts (NTP)"
