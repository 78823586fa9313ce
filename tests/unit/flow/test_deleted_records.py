"""Deleted records are distinguished from offsets that were never records."""

from __future__ import annotations

import pytest

from consent_api.ingest.deleted_records import DeletedRecords

PLACE = ("consent.inbound.v1", 0)


def gaps(committed: int | None, begins: int) -> DeletedRecords:
    return DeletedRecords(committed=lambda _: committed, begins=lambda _: begins)


@pytest.mark.parametrize(
    ("committed", "begins", "offset", "lost"),
    [
        (10, 25, 25, 15),
        (10, 25, 27, 15),  # 25 and 26 are markers
        (10, 0, 10, 0),
        (10, 0, 13, 0),  # a transaction was aborted
        (10, 10, 12, 0),
        (10, 25, 11, 0),  # read before it was deleted
        (None, 25, 25, 0),  # a new group
        (40, 0, 0, 0),  # another topic of the same name
    ],
)
def test_where_a_group_was_to_go_on(committed: int | None, begins: int, offset: int, lost: int) -> None:
    assert gaps(committed, begins).before(PLACE, offset, then=offset + 1) == lost


def test_a_first_start_that_finds_deleted_records_reports_them_once() -> None:  # R43
    found = gaps(None, 25)
    assert found.before_first_start(PLACE) == 0
    found.before(PLACE, 27, then=28)
    assert [found.before_first_start(PLACE) for _ in range(2)] == [25, 0]
    found.forget([PLACE])
    found.before(PLACE, 27, then=28)
    assert found.before_first_start(PLACE) == 0


@pytest.mark.parametrize(("committed", "begins", "offset"), [(None, 0, 3), (None, 0, 0), (None, 25, 3), (10, 25, 25)])
def test_nothing_was_deleted_before_a_first_start(committed: int | None, begins: int, offset: int) -> None:
    found = gaps(committed, begins)
    found.before(PLACE, offset, then=offset + 1)
    assert found.before_first_start(PLACE) == 0


def test_a_gap_is_found_in_the_middle_and_counted_once() -> None:
    found = gaps(None, 25)
    assert [found.before(PLACE, offset, then=offset + 1) for offset in (3, 4, 25, 26)] == [0, 0, 20, 0]


def test_the_broker_is_asked_only_where_an_offset_is_missing_or_a_partition_is_new() -> None:
    asked: list[str] = []

    def answer(question: str, offset: int) -> int:
        asked.append(question)
        return offset

    found = DeletedRecords(committed=lambda _: answer("committed", 1), begins=lambda _: answer("begins", 0))
    for offset in (1, 2, 3, 5, 6):
        found.before(PLACE, offset, then=offset + 1)
    assert asked == ["committed", "begins"]
    found.forget([PLACE])
    found.before(PLACE, 1, then=2)
    assert asked == ["committed", "begins", "committed"]


def test_a_broker_that_does_not_answer_is_not_asked_for_every_record() -> None:
    asked = 0

    def silent(_: object) -> int:
        nonlocal asked
        asked += 1
        raise TimeoutError

    found = DeletedRecords(committed=silent, begins=silent)
    with pytest.raises(TimeoutError):
        found.before(PLACE, 5, then=6)
    assert [found.before(PLACE, offset, then=offset + 1) for offset in (6, 8, 100)] == [0, 0, 0]
    assert asked == 1


def test_the_marks_of_transactions_cost_a_question_a_second_and_a_large_gap_is_always_asked_about() -> None:
    asked, now = 0, 0.0

    def begins(_: object) -> int:
        nonlocal asked
        asked += 1
        return 5_000 if asked == 4 else 0

    found = DeletedRecords(committed=lambda _: 1, begins=begins, clock=lambda: now)
    for number in range(1_000):
        now = number / 400
        assert found.before(PLACE, 2 * number + 1, then=2 * number + 2) == 0
    assert asked == 3
    assert found.before(PLACE, 6_000, then=6_001) == 3_000
