"""Readiness names the lane that is stuck: rows that grow old unpublished, or a resolved timestamp that is too old.

Not a lane whose rows the broker refuses, or another relay publishes.
"""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from consent_api.ledger.backlog import OutboxBacklog
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.monitor import MonitoredLane, OutboxMonitor, resolved_readiness
from consent_service.health import Health
from consent_service.stall_timer import StallTimer

BOUND = 60.0


class ScriptedLane:
    """The live lane of a monitor, over an outbox that holds what a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.health = Health()
        self.progress = StallTimer(bound=BOUND, clock=lambda: self.now)
        self.refused = 0
        self.found: OutboxBacklog | None = None
        self.age = 1.0
        self.registry = CollectorRegistry()
        self.lane = MonitoredLane(
            lane=Lane.LIVE,
            outbox=self,  # type: ignore[arg-type]
            resolved_age=self,  # type: ignore[arg-type]
            progress=self.progress,
            stalled_after=BOUND,
            rejected_count=lambda: self.refused,
        )
        metrics = RelayMetrics.on(self.registry)
        self.monitor = OutboxMonitor(lanes=[self.lane], metrics=metrics, health=self.health)

    def backlog(self) -> OutboxBacklog:
        if self.found is None:
            raise OperationalError("", {}, Exception())
        return self.found

    def seconds(self) -> float:
        return self.age

    def passes(self, seconds: int, *, pending: int, oldest: float) -> list[str]:
        """What the health page has after so many measurements, one a second."""
        for _ in range(seconds):
            self.now += 1
            self.found = OutboxBacklog(pending=pending, oldest_seconds=oldest)
            self.monitor.check(self.lane)
        return self.health.readiness()[1]


def test_an_idle_relay_is_ready() -> None:  # R41
    assert ScriptedLane().passes(1_000, pending=0, oldest=0.0) == []


def test_old_rows_of_which_none_is_published_are_a_reason_until_one_is() -> None:  # R41
    lane = ScriptedLane()
    assert lane.passes(60, pending=3, oldest=90.0) == []
    assert lane.passes(5, pending=3, oldest=90.0) == ["live-outbox: 3 rows wait, and none was published for 65 s"]
    lane.progress.progressed()
    assert lane.passes(1, pending=2, oldest=90.0) == []


def test_rows_that_another_relay_publishes_are_none() -> None:
    assert ScriptedLane().passes(1_000, pending=2_000, oldest=0.4) == []


def test_rows_that_the_broker_refuses_are_none() -> None:
    lane = ScriptedLane()
    lane.refused = 2
    assert lane.passes(1_000, pending=2, oldest=5_000.0) == []


def test_a_resolved_timestamp_that_does_not_advance_is_a_reason() -> None:
    lane = ScriptedLane()
    lane.age = 16.0
    assert lane.passes(1, pending=0, oldest=0.0) == ["live-resolved: the resolved timestamp is 16 s old"]


@pytest.mark.parametrize(("lane", "tolerated"), [(Lane.LIVE, 15.0), (Lane.BULK, 300.0)])
def test_bulk_may_be_older_than_live(lane: Lane, tolerated: float) -> None:
    assert resolved_readiness(lane, tolerated) is True
    assert resolved_readiness(lane, tolerated + 1) is not True
    assert resolved_readiness(lane, math.nan) == "no resolved timestamp has been published yet"


def test_while_the_database_does_not_answer_the_relay_itself_reports() -> None:
    lane = ScriptedLane()
    lane.monitor.check(lane.lane)
    assert lane.health.readiness() == (True, [])
    assert math.isnan(lane.registry.get_sample_value("consent_relay_outbox_pending", {"lane": "live"}) or 0.0)
