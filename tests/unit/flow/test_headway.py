"""A loop that turns and turns, and reads nothing of what stands there, says so."""

import pytest

from consent_api.ingest.headway import Headway

TOPIC = "consent.inbound.v1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def headway(clock: Clock) -> Headway:
    headway = Headway(bound=60.0, clock=clock)
    headway.assigned([(TOPIC, 0), (TOPIC, 1)])
    return headway


def look(headway: Headway, partition: int, position: int, end: int) -> None:
    if not headway.stands((TOPIC, partition), position):
        headway.ends((TOPIC, partition), end)


def test_who_has_no_partition_is_ready_once_it_has_joined(clock: Clock) -> None:
    headway = Headway(bound=60.0, clock=clock)
    clock.now = 1_000
    assert headway.state() == "has not joined its group yet"
    headway.assigned([])
    assert headway.state() is True


def test_an_idle_partition_is_no_reason(headway: Headway, clock: Clock) -> None:  # R41
    for _ in range(100):
        clock.now += 5
        look(headway, 0, 7, 7)
        look(headway, 1, 0, 0)
        assert headway.state() is True


def test_unread_records_are_a_reason_until_one_of_them_is_taken(headway: Headway, clock: Clock) -> None:  # R41
    look(headway, 0, 7, 7)
    for _ in range(13):
        clock.now += 5
        look(headway, 0, 7, 9)
        look(headway, 1, 3, 3)
    assert headway.state() == f"{TOPIC}:0: not read for 65 s"
    look(headway, 0, 8, 9)
    assert headway.state() is True


def test_a_partition_of_which_nothing_is_heard_is_a_reason(headway: Headway, clock: Clock) -> None:
    clock.now += 61
    assert not headway.stands((TOPIC, 0), -1001)
    assert headway.state() == f"{TOPIC}:0: not read for 61 s; {TOPIC}:1: not read for 61 s"
    headway.lost([(TOPIC, 1)])
    assert headway.stands((TOPIC, 1), 8)
    headway.ends((TOPIC, 0), 0)
    assert headway.state() == f"{TOPIC}:0: not read for 61 s"
    look(headway, 0, 0, 0)
    assert headway.state() is True


def test_a_wait_with_a_reason_of_its_own_does_not_count(headway: Headway, clock: Clock) -> None:
    clock.now += 1_000
    headway.excused()
    clock.now += 60
    assert headway.state() is True
