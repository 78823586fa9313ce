"""Ingest records live before bulk; bulk keeps a tenth, and is slowed while its lane cannot keep up."""

from __future__ import annotations

import threading
import time

from prometheus_client import CollectorRegistry

from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.preference import WAIT_RATIO, LivePreference
from consent_api.ingest.throttle import BulkThrottle
from consent_api.ledger.backlog import BulkBacklog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def after_a_batch_of(seconds: float) -> LivePreference:
    """A preference whose last bulk batch took so long."""
    clock = Clock()
    preference = LivePreference(clock=clock)
    with preference.bulk():
        clock.now += seconds
    return preference


def test_bulk_waits_while_live_has_work() -> None:
    preference = after_a_batch_of(60)
    order: list[str] = []
    entered = threading.Event()

    def bulk() -> None:
        entered.set()
        with preference.bulk():
            order.append("bulk")

    thread = threading.Thread(target=bulk)
    with preference.live():
        thread.start()
        entered.wait()
        time.sleep(0.05)
        order.append("live")
    thread.join(60)
    assert order == ["live", "bulk"]


def test_bulk_keeps_a_tenth_while_live_never_ends() -> None:
    preference = after_a_batch_of(0.02)
    with preference.live():
        began = time.monotonic()
        with preference.bulk():
            waited = time.monotonic() - began
    assert waited >= 0.02 * WAIT_RATIO * 0.9


def test_bulk_does_not_wait_while_live_is_idle() -> None:
    preference = after_a_batch_of(600)
    began = time.monotonic()
    with preference.bulk():
        assert time.monotonic() - began < 600


class Slept:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.now = 0.0

    def __call__(self, seconds: float) -> None:
        self.seconds += seconds
        self.now += seconds


def throttled(*ages: float | None, pending: int = 0) -> Slept:
    """What a throttle sleeps over as many batches as there are ages of the resolved timestamp."""
    slept, found = Slept(), list(ages)
    throttle = BulkThrottle(
        lambda: BulkBacklog(resolved_age_seconds=found.pop(0), pending=pending, relay_alive=True),
        throttled=IngestMetrics.on(CollectorRegistry()).throttled,
        sleep=slept,
        clock=lambda: slept.now,
    )
    for _ in ages:
        throttle.wait()
        slept.now += 1.0
    return slept


def test_bulk_is_slowed_while_its_resolved_timestamp_is_more_than_a_minute_old() -> None:
    assert throttled(1.0, 59.0).seconds == 0.0
    assert throttled(61.0, 90.0, 3.0, 2.0).seconds == 2.0


def test_bulk_is_not_stopped_before_the_first_relay_has_run_unless_much_waits() -> None:
    assert throttled(None).seconds == 0.0
    assert throttled(None, pending=10_001).seconds == 1.0


def test_bulk_rests_for_as_long_as_its_last_batch_took_while_live_decisions_are_recorded() -> None:
    slept, recorded, took = Slept(), [10, 10, 11, 14, 14], [1.0, 0.4, 3.0, 0.4, 0.4]
    rests = []
    throttle = BulkThrottle(
        lambda: BulkBacklog(resolved_age_seconds=1.0, pending=0, relay_alive=True, live_recorded=recorded.pop(0)),
        throttled=IngestMetrics.on(CollectorRegistry()).throttled,
        sleep=slept,
        clock=lambda: slept.now,
    )
    for seconds in took:
        before = slept.seconds
        throttle.wait()
        rests.append(round(slept.seconds - before, 3))
        slept.now += seconds
    # It looks once a second: 10 rows, 10, 11 before the fourth batch, 14 before the fifth.
    assert rests == [0.0, 0.0, 0.0, 1.0, 0.4]
