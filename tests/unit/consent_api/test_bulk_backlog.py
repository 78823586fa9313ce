"""When bulk sources are slowed. Pure."""

from __future__ import annotations

import pytest

from consent_api.ledger.backlog import PENDING_LIMIT, RESOLVED_AGE_LIMIT_SECONDS, BulkBacklog
from consent_api.operations.republish.pacing import BulkPacing, MergePacing
from consent_api.outbox_relay.publisher import OffsetRange


def backlog(age: float | None, *, pending: int = 0, relay_alive: bool = True) -> BulkBacklog:
    return BulkBacklog(resolved_age_seconds=age, pending=pending, relay_alive=relay_alive)


@pytest.mark.parametrize(("age", "excess"), [(0.0, 0.0), (60.0, 0.0), (61.5, 1.5), (3_600.0, 3_540.0)])
def test_bulk_may_go_on_while_the_resolved_timestamp_is_at_most_a_minute_old(age: float, excess: float) -> None:
    assert backlog(age).excess_seconds == excess


def test_while_nothing_is_known_a_little_may_wait_in_the_outbox() -> None:
    assert backlog(None, pending=PENDING_LIMIT).excess_seconds == 0.0
    assert backlog(None, pending=PENDING_LIMIT + 1).excess_seconds == RESOLVED_AGE_LIMIT_SECONDS


def paced(*found: BulkBacklog) -> tuple[list[float], int]:
    """The ages that were reported, and how often the ledger was asked."""
    waits: list[float] = []
    left = list(found)
    BulkPacing(lambda: left.pop(0), waits.append, sleep=lambda _: None).wait()
    return waits, len(found) - len(left)


def test_republish_waits_until_the_bulk_lane_keeps_up() -> None:
    assert paced(backlog(90.0), backlog(70.0), backlog(10.0), backlog(10.0)) == ([90.0, 70.0], 3)


def test_republish_does_not_wait_for_relays_that_do_not_run() -> None:
    # Topics that were created again are filled before the relays start.
    assert paced(backlog(86_400.0, relay_alive=False)) == ([], 1)


def test_republish_does_not_wait_while_nothing_is_known() -> None:
    assert paced(backlog(None, pending=PENDING_LIMIT + 1)) == ([], 1)


class Merge:
    """What a run has published and the merge has read, in two partitions."""

    def __init__(self) -> None:
        self.now = 0.0
        self.read: dict[int, int] = {}
        self.asked = 0
        self.waits: list[float] = []
        self.pacing = MergePacing(self.merged, self.waits.append, sleep=self.sleep, clock=lambda: self.now)

    def merged(self) -> dict[int, int]:
        self.asked += 1
        return self.read

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > 63:
            self.read = {0: 10, 1: 20}

    def publish(self, *highest: int) -> None:
        self.pacing.wait()
        self.pacing.published({p: OffsetRange(lowest=0, highest=each) for p, each in enumerate(highest)})


def test_republish_does_not_ask_the_merge_within_a_minute() -> None:
    merge = Merge()
    for page in range(10):
        merge.now = page * 6.0
        merge.publish(page)
    assert merge.asked == 0


def test_republish_waits_while_the_merge_has_not_read_what_is_more_than_a_minute_old() -> None:
    merge = Merge()
    merge.publish(9, 19)
    merge.now = 61.5
    merge.read = {0: 10, 1: 19}
    merge.publish(99, 99)
    assert merge.waits == [61.5, 62.5]
    merge.now = 120.0
    merge.publish(100, 100)
    assert merge.waits == [61.5, 62.5], "the second page is younger than a minute"


def test_republish_waits_for_a_merge_that_has_read_nothing() -> None:
    merge = Merge()
    merge.publish(9, 19)
    merge.now = 61.0
    merge.publish(99, 99)
    assert len(merge.waits) == 3
