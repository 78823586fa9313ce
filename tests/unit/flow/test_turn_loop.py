"""Turns overlap, wait for the transactions that write, and are given up in the end."""

from __future__ import annotations

import threading
from typing import Any

from prometheus_client import CollectorRegistry

from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.points import PartitionProgress, Point
from consent_api.outbox_relay.timing import WRITER_WAIT_SECONDS
from consent_api.outbox_relay.turn_loop import TurnLoop
from consent_contracts.errors import RegistryUnavailableError
from consent_service.health import Health

CONNECTION: Any = None


class Engine:
    def execution_options(self, **_: Any) -> Engine:
        return self


class Table:
    """The shared state, in memory. `writing`: the transactions that write the outbox now."""

    def __init__(self) -> None:
        self.writing: frozenset[str] = frozenset()
        self.highest = 0
        self.time = 0
        self.turn = 0
        self.mine = True
        self.kept: list[Point] = []

    def take(self, _: Any) -> int | None:
        self.turn += 1
        return self.turn if self.mine else None

    def clock(self, _: Any) -> tuple[int, int | None]:
        self.time += 1_000_000
        return self.time, None

    def writers(self, _: Any) -> frozenset[str]:
        return self.writing

    def highest_id(self, _: Any) -> int:
        return self.highest

    def keep(self, _: Any, point: Point) -> None:
        self.kept.append(point)

    def points(self, _: Any) -> list[Point]:
        return list(self.kept)

    def prune(self, _: Any, *, published: Any) -> None: ...

    def discard_later(self, _: Any, clock: int) -> None:
        self.kept = [each for each in self.kept if each.resolved_at <= clock]

    def partitions(self, _: Any, *, topic_id: str | None, count: int) -> dict[int, PartitionProgress]:
        return {
            each: PartitionProgress(topic_id="t", last_offset=None, loss=0, resolved_at=None) for each in range(count)
        }


class Rig:
    def __init__(self) -> None:
        self.now = 100.0
        self.table = Table()
        self.registry = CollectorRegistry()
        self.unavailable = 0
        self.health = Health()
        self.loop = TurnLoop(
            lane=Lane.BULK,
            name="bulk-turns",
            engine=Engine(),  # type: ignore[arg-type]
            table=self.table,  # type: ignore[arg-type]
            topic_id=lambda: "t",
            prepare=self.prepare,
            partitions=2,
            metrics=RelayMetrics.on(self.registry),
            health=self.health,
            clock=lambda: self.now,
        )

    def prepare(self) -> None:
        if self.unavailable:
            self.unavailable -= 1
            raise RegistryUnavailableError("the registry does not answer")

    def step(self, seconds: float = 1.0) -> None:
        self.loop.step(CONNECTION)
        self.now += seconds

    def turns(self, outcome: str) -> float:
        return (
            self.registry.get_sample_value("consent_relay_resolved_turns_total", {"lane": "bulk", "outcome": outcome})
            or 0.0
        )


def test_a_turn_without_writers_is_kept_at_once() -> None:
    rig = Rig()
    rig.table.highest = 7
    rig.step()
    assert rig.table.kept == [Point(turn=1, resolved_at=1_000_000, highest_outbox_id=7, inbound_resolved_at=None)]
    assert rig.loop.state.points == tuple(rig.table.kept)


def test_turns_wait_for_those_that_wrote_when_they_began_and_for_no_others() -> None:
    rig = Rig()
    rig.table.writing = frozenset({"import"})
    rig.step()
    rig.step()
    assert rig.table.kept == []
    rig.table.writing = frozenset({"import", "later"})
    rig.step()
    rig.table.writing = frozenset({"later"})
    rig.table.highest = 9
    rig.step(0.0)
    # The third turn began while the later one wrote already, the fourth does so now.
    assert [each.turn for each in rig.table.kept] == [1, 2]
    assert {each.highest_outbox_id for each in rig.table.kept} == {9}
    rig.table.writing = frozenset()
    rig.step(0.0)
    assert [each.turn for each in rig.table.kept] == [1, 2, 3, 4]


def test_a_turn_is_given_up_when_a_transaction_does_not_end() -> None:
    rig = Rig()
    rig.table.writing = frozenset({"forgotten"})
    rig.step(WRITER_WAIT_SECONDS[Lane.BULK] + 1)
    rig.step()
    assert rig.turns("timed_out") == 1
    assert rig.table.kept == []


def test_another_relays_turn_is_not_waited_for() -> None:
    rig = Rig()
    rig.table.mine = False
    rig.step()
    assert rig.table.kept == []


def test_without_a_turn_the_partitions_are_read_and_the_points_are_left_to_the_other_relay() -> None:
    rig = Rig()
    rig.table.mine = False
    rig.table.kept = [Point(turn=1, resolved_at=1, highest_outbox_id=0, inbound_resolved_at=None)]
    rig.step()
    rig.step()
    assert rig.loop.state.read == 2
    assert sorted(rig.loop.state.partitions) == [0, 1]
    assert rig.loop.state.points == ()


def test_no_turn_is_taken_before_the_schemas_are_known() -> None:
    rig = Rig()
    rig.unavailable = 10
    stop = threading.Event()
    stopping = threading.Timer(0.2, stop.set)
    stopping.start()
    rig.loop.run(stop)
    assert rig.table.turn == 0
    assert rig.health.readiness()[1] == ["bulk-turns: waiting for the schema registry: the registry does not answer"]


def test_what_a_clock_has_stated_that_was_set_back_since_is_discarded() -> None:
    rig = Rig()
    rig.table.time = 3_600_000_000
    rig.step()
    rig.table.time = 0
    rig.step()
    assert [each.resolved_at for each in rig.table.kept] == [1_000_000]
    assert rig.loop.state.points == tuple(rig.table.kept)
    value = rig.registry.get_sample_value("consent_relay_resolved_clock_set_back_total", {"lane": "bulk"})
    assert value == 1


def test_the_clock_of_the_last_turn_outlives_later_readings() -> None:
    rig = Rig()
    rig.step()
    assert (rig.loop.state.read, rig.loop.state.clock, rig.loop.state.clock_read) == (2, 1_000_000, 1)
    rig.table.mine = False
    rig.step()
    assert (rig.loop.state.read, rig.loop.state.clock, rig.loop.state.clock_read) == (3, 1_000_000, 1)


def test_a_clock_that_was_set_back_by_less_than_readers_tolerate_discards_nothing() -> None:
    rig = Rig()
    rig.table.time = 3_600_000_000
    rig.step()
    rig.table.time -= 2_500_000
    rig.step()
    assert len(rig.table.kept) == 2
