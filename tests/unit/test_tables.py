"""A table of cases in one test: every case runs, and one that fails is named."""

import pytest

from tests.support.tables import each_of


def test_every_combination_runs() -> None:
    seen = []

    @each_of("a", [1, 2])
    @each_of("b, c", [("x", 0), ("y", 9)])
    def case(a: int, b: str, c: int) -> None:
        seen.append((a, b, c))

    case()
    assert seen == [(1, "x", 0), (1, "y", 9), (2, "x", 0), (2, "y", 9)]


def test_a_case_that_fails_is_named() -> None:
    @each_of("number", [1, 2, 3])
    def case(number: int) -> None:
        if number == 2:
            pytest.fail("no")

    with pytest.raises(pytest.fail.Exception) as failed:
        case()
    assert failed.value.__notes__ == ["with {'number': 2}"]


def test_an_empty_table_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        each_of("number", [])
