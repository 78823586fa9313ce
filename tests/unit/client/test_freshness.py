"""A view is as old as the last moment of which it holds everything (R31)."""

from consent_client.freshness import Freshness


def settled(freshness: Freshness) -> float | None:
    freshness.update()
    return freshness.as_of


def probe(freshness: Freshness, at: float, ends: dict[int, int]) -> None:
    freshness.asked(at)
    freshness.answered(ends)


def test_nothing_is_fresh_before_the_ends_seen_at_the_start_are_reached() -> None:  # R31
    freshness = Freshness(2)
    assert settled(freshness) is None
    probe(freshness, 100.0, {0: 5, 1: 3})
    freshness.advance_to(0, 5)
    assert settled(freshness) is None
    freshness.advance_to(1, 3)
    assert settled(freshness) == 100.0


def test_an_empty_topic_is_complete_at_once() -> None:
    freshness = Freshness(3)
    probe(freshness, 7.0, {0: 0, 1: 0, 2: 0})
    assert settled(freshness) == 7.0


def test_age_is_that_of_the_newest_probe_that_is_satisfied() -> None:
    freshness = Freshness(1)
    probe(freshness, 1.0, {0: 10})
    probe(freshness, 2.0, {0: 20})
    probe(freshness, 3.0, {0: 30})
    freshness.advance_to(0, 25)
    assert settled(freshness) == 2.0
    freshness.advance_to(0, 30)
    assert settled(freshness) == 3.0


def test_no_answers_or_no_progress_let_it_age() -> None:
    freshness = Freshness(1)
    probe(freshness, 1.0, {0: 1})
    freshness.advance_to(0, 1)
    assert settled(freshness) == 1.0
    probe(freshness, 2.0, {0: 2})
    assert settled(freshness) == 1.0


def test_more_probes_than_are_kept_lose_nothing() -> None:
    freshness = Freshness(1)
    for number in range(2_000):
        probe(freshness, float(number), {0: number})
    freshness.advance_to(0, 1_999)
    assert settled(freshness) == 1_999.0


def test_an_end_below_what_was_read_is_never_fresh_and_at_last_a_reason_to_start_again() -> None:  # R4
    freshness = Freshness(1)
    freshness.advance_to(0, 100)
    for moment in range(3):
        probe(freshness, float(moment), {0: 40})
    assert settled(freshness) is None
    assert not freshness.truncated
    probe(freshness, 3.0, {0: 100})  # a new leader that lagged for a moment
    assert settled(freshness) == 3.0
    for moment in range(4, 9):
        probe(freshness, float(moment), {0: 40})
    assert freshness.truncated
    assert settled(freshness) == 3.0


def test_records_read_while_the_answer_was_on_its_way_are_no_regression() -> None:
    freshness = Freshness(1)
    for moment in range(9):
        freshness.asked(float(moment))
        freshness.advance_to(0, 10 * moment + 5)
        freshness.answered({0: 10 * moment})
    assert not freshness.truncated
    assert settled(freshness) == 8.0
