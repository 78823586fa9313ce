"""A loop that runs and reads none of the records that are there is reported."""

import pytest

from consent_api.ingest.stall_detectors import StallDetectors

TOPIC = "consent.inbound.v1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def detectors(clock: Clock) -> StallDetectors:
    detectors = StallDetectors(bound=60.0, clock=clock)
    detectors.assigned([(TOPIC, 0), (TOPIC, 1)])
    return detectors


def look(detectors: StallDetectors, partition: int, position: int, end: int, *, stable: int | None = None) -> None:
    if not detectors.position((TOPIC, partition), position):
        detectors.end_offset((TOPIC, partition), end, stable=end if stable is None else stable)


def test_who_has_no_partition_is_ready_once_it_has_joined(clock: Clock) -> None:
    detectors = StallDetectors(bound=60.0, clock=clock)
    clock.now = 1_000
    assert detectors.readiness() == "has not joined its group yet"
    detectors.assigned([])
    assert detectors.readiness() is True


def test_who_is_no_member_any_more_is_a_reason_until_it_is(detectors: StallDetectors, clock: Clock) -> None:  # R41
    detectors.lost([(TOPIC, 0), (TOPIC, 1)])
    clock.now += 59
    assert detectors.readiness() is True, "a rebalance takes a while"
    detectors.lost([])
    clock.now += 1
    reason = "is no member of its group and reads nothing, for 60 s: see what the broker answers it"
    assert detectors.readiness() == reason
    detectors.assigned([])
    assert detectors.readiness() is True


def test_an_idle_partition_is_no_reason(detectors: StallDetectors, clock: Clock) -> None:  # R41
    for _ in range(100):
        clock.now += 5
        look(detectors, 0, 7, 7)
        look(detectors, 1, 0, 0)
        assert detectors.readiness() is True


def test_unread_records_are_a_reason_until_one_of_them_is_taken(detectors: StallDetectors, clock: Clock) -> None:  # R41
    look(detectors, 0, 7, 7)
    for _ in range(13):
        clock.now += 5
        look(detectors, 0, 7, 9)
        look(detectors, 1, 3, 3)
    assert detectors.readiness() == f"{TOPIC}:0: not read for 65 s"
    look(detectors, 0, 8, 9)
    assert detectors.readiness() is True


def test_records_that_an_open_transaction_hides_are_a_reason_of_their_own(
    detectors: StallDetectors, clock: Clock
) -> None:  # R41
    look(detectors, 0, 7, 7)
    for _ in range(13):
        clock.now += 5
        look(detectors, 0, 7, 9, stable=7)
        look(detectors, 1, 3, 3)
    assert detectors.readiness() == (
        f"an open transaction on {TOPIC}/0 hides the records from offset 7 on, for 65 s: abort it (docs/runbooks.md)"
    )
    look(detectors, 0, 9, 9)
    assert detectors.readiness() is True


def test_a_stall_without_an_end_is_not_put_to_a_transaction(detectors: StallDetectors, clock: Clock) -> None:
    look(detectors, 0, 7, 7)
    clock.now += 61
    look(detectors, 1, 3, 3)
    assert not detectors.position((TOPIC, 0), 7)
    assert detectors.readiness() == f"{TOPIC}:0: not read for 61 s"


def test_a_partition_of_which_nothing_is_heard_is_a_reason(detectors: StallDetectors, clock: Clock) -> None:
    clock.now += 61
    assert not detectors.position((TOPIC, 0), -1001)
    assert detectors.readiness() == f"{TOPIC}:0: not read for 61 s; {TOPIC}:1: not read for 61 s"
    detectors.lost([(TOPIC, 1)])
    assert detectors.position((TOPIC, 1), 8)
    detectors.end_offset((TOPIC, 0), 0, stable=0)
    assert detectors.readiness() == f"{TOPIC}:0: not read for 61 s"
    look(detectors, 0, 0, 0)
    assert detectors.readiness() is True


def test_a_wait_with_a_reason_of_its_own_does_not_count(detectors: StallDetectors, clock: Clock) -> None:
    clock.now += 1_000
    detectors.waiting_on_purpose()
    clock.now += 60
    assert detectors.readiness() is True
