"""One partition of a changes topic that takes no records: the others go on. # R43"""

from __future__ import annotations

import time

import pytest

from consent_api.ledger.lanes import Lane
from consent_contracts.partitioner import partition_of
from tests.integration.flow.rig import Rig, Running
from tests.integration.flow.stuck_partition import STUCK, PublisherWithoutLeader
from tests.support.waiting import until


def keys_of(rig: Rig, lane: Lane) -> set[bytes]:
    return {each.key() for each in rig.changes(lane)}


def newest_resolved(rig: Rig, lane: Lane) -> dict[int, int]:
    found: dict[int, int] = {}
    for partition, _, datum in rig.resolved(lane):
        found[partition] = max(datum["resolved_at"], found.get(partition, 0))
    return found


def unavailable(rig: Rig, relay: Running, lane: Lane) -> list[float]:
    name, topic = "consent_relay_changes_partition_unavailable", lane.changes(rig.topics)
    return [relay.metric(name, topic=topic, partition=str(each)) for each in range(4)]


@pytest.mark.parametrize("lane", list(Lane))
def test_the_others_are_published_and_resolved_while_one_waits(
    rig: Rig, one_partition_stuck: type[PublisherWithoutLeader], lane: Lane
) -> None:
    # More rows of the partition than a batch holds, and lower ids than all others.
    keys = rig.fill(2_000, lane=lane)
    waiting = {key for key in keys if partition_of(key, 4) == STUCK}
    with rig.relay(relay_batch=100) as relay:
        until(lambda: rig.pending(lane) == len(waiting))
        until(lambda: unavailable(rig, relay, lane) == [0, 0, 1, 0])
        reason = f"{lane}-relay: the broker takes no records of {lane.changes(rig.topics)}:{STUCK}"
        until(lambda: reason in relay.health.readiness()[1])
        until(lambda: set(newest_resolved(rig, lane)) == {0, 1, 3})
        before = newest_resolved(rig, lane)
        slowest = 0.0
        for number in range(20):
            began = time.monotonic()
            keys |= rig.fill(4, first=10_000 + 4 * number, lane=lane)
            added = {f"k{each}".encode() for each in range(10_000 + 4 * number, 10_004 + 4 * number)}
            waiting |= {key for key in added if partition_of(key, 4) == STUCK}
            until(lambda: rig.pending(lane) == len(waiting), seconds=5)  # noqa: B023 - used at once
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < PublisherWithoutLeader.timeout_seconds, "no row of another partition waits for this one"
        until(lambda: all(now > before[each] for each, now in newest_resolved(rig, lane).items()))
        assert STUCK not in newest_resolved(rig, lane)
        one_partition_stuck.stuck = frozenset()
        until(lambda: rig.pending(lane) == 0)
        until(lambda: STUCK in newest_resolved(rig, lane))
        until(lambda: unavailable(rig, relay, lane) == [0, 0, 0, 0])
        until(lambda: relay.health.readiness() == (True, []))
    assert keys_of(rig, lane) == keys


def test_a_partition_without_rows_comes_back_too(rig: Rig, one_partition_stuck: type[PublisherWithoutLeader]) -> None:
    with rig.relay() as relay:
        until(lambda: unavailable(rig, relay, Lane.LIVE) == [0, 0, 1, 0])
        one_partition_stuck.stuck = frozenset()
        until(lambda: set(newest_resolved(rig, Lane.LIVE)) == {0, 1, 2, 3})
        until(lambda: relay.health.readiness() == (True, []))
