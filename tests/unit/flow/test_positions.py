"""Up to which append time a partition of an inbound topic is recorded."""

from __future__ import annotations

from consent_api.ingest.positions import Position, RecordedPositions, resolved_times

PARTITION = ("consent.inbound.v1", 0)
ASKED_AT = 1_000


def resolved(*, before: int, end: int | None, after: int, append_time: int | None = 7) -> int | None:
    found = resolved_times(
        before={PARTITION: Position(next_offset=before, append_time=append_time)},
        ends={} if end is None else {PARTITION: end},
        after={PARTITION: Position(next_offset=after, append_time=append_time)},
        asked_at=ASKED_AT,
    )
    return found.get(PARTITION)


def test_a_partition_read_to_its_end_counts_as_of_when_its_end_was_asked() -> None:
    assert resolved(before=5, end=5, after=5) == ASKED_AT
    assert resolved(before=3, end=5, after=9) == ASKED_AT


def test_one_that_is_longer_counts_as_of_its_last_recorded_record() -> None:
    assert resolved(before=3, end=9, after=5) == 7
    assert resolved(before=3, end=None, after=5) == 7


def test_an_append_time_that_is_yet_to_come_is_that_of_a_fast_clock() -> None:
    assert resolved(before=3, end=9, after=5, append_time=ASKED_AT) == ASKED_AT
    assert resolved(before=3, end=9, after=5, append_time=ASKED_AT + 1) is None


def test_nothing_is_known_before_the_first_record_of_a_longer_one() -> None:
    assert resolved(before=3, end=9, after=3, append_time=None) is None


def test_nothing_is_stated_of_a_partition_that_ends_below_what_was_recorded() -> None:
    assert resolved(before=9, end=5, after=9) is None


def test_an_end_without_records_keeps_the_append_time_of_the_last_one() -> None:
    positions = RecordedPositions()
    positions.recorded(PARTITION, next_offset=4, append_time=7)
    positions.recorded(PARTITION, next_offset=6, append_time=None)  # the markers of a transaction
    assert positions.snapshot() == {PARTITION: Position(next_offset=6, append_time=7)}
    positions.forget([PARTITION])
    assert positions.snapshot() == {}
