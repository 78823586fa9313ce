"""A loop that runs and reads none of the records that are there is reported."""

import pytest

from consent_api.ingest.stall_detector import StallDetector

TOPIC = "consent.inbound.v1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def detector(clock: Clock) -> StallDetector:
    detector = StallDetector(bound=60.0, clock=clock)
    detector.assigned([(TOPIC, 0), (TOPIC, 1)])
    return detector


def look(detector: StallDetector, partition: int, position: int, end: int, *, stable: int | None = None) -> None:
    if not detector.position((TOPIC, partition), position):
        detector.end_offset((TOPIC, partition), end, stable=end if stable is None else stable)


def test_who_has_no_partition_is_ready_once_it_has_joined(clock: Clock) -> None:
    detector = StallDetector(bound=60.0, clock=clock)
    clock.now = 1_000
    assert detector.readiness() == "has not joined its group yet"
    detector.assigned([])
    assert detector.readiness() is True


def test_an_idle_partition_is_no_reason(detector: StallDetector, clock: Clock) -> None:  # R41
    for _ in range(100):
        clock.now += 5
        look(detector, 0, 7, 7)
        look(detector, 1, 0, 0)
        assert detector.readiness() is True


def test_unread_records_are_a_reason_until_one_of_them_is_taken(detector: StallDetector, clock: Clock) -> None:  # R41
    look(detector, 0, 7, 7)
    for _ in range(13):
        clock.now += 5
        look(detector, 0, 7, 9)
        look(detector, 1, 3, 3)
    assert detector.readiness() == f"{TOPIC}:0: not read for 65 s"
    look(detector, 0, 8, 9)
    assert detector.readiness() is True


def test_records_that_an_open_transaction_hides_are_a_reason_of_their_own(
    detector: StallDetector, clock: Clock
) -> None:  # R41
    look(detector, 0, 7, 7)
    for _ in range(13):
        clock.now += 5
        look(detector, 0, 7, 9, stable=7)
        look(detector, 1, 3, 3)
    assert detector.readiness() == (
        f"an open transaction on {TOPIC}/0 hides the records from offset 7 on, for 65 s: abort it (docs/runbooks.md)"
    )
    look(detector, 0, 9, 9)
    assert detector.readiness() is True


def test_a_stall_without_an_end_is_not_put_to_a_transaction(detector: StallDetector, clock: Clock) -> None:
    look(detector, 0, 7, 7)
    clock.now += 61
    look(detector, 1, 3, 3)
    assert not detector.position((TOPIC, 0), 7)
    assert detector.readiness() == f"{TOPIC}:0: not read for 61 s"


def test_a_partition_of_which_nothing_is_heard_is_a_reason(detector: StallDetector, clock: Clock) -> None:
    clock.now += 61
    assert not detector.position((TOPIC, 0), -1001)
    assert detector.readiness() == f"{TOPIC}:0: not read for 61 s; {TOPIC}:1: not read for 61 s"
    detector.lost([(TOPIC, 1)])
    assert detector.position((TOPIC, 1), 8)
    detector.end_offset((TOPIC, 0), 0, stable=0)
    assert detector.readiness() == f"{TOPIC}:0: not read for 61 s"
    look(detector, 0, 0, 0)
    assert detector.readiness() is True


def test_a_wait_with_a_reason_of_its_own_does_not_count(detector: StallDetector, clock: Clock) -> None:
    clock.now += 1_000
    detector.waiting_on_purpose()
    clock.now += 60
    assert detector.readiness() is True
