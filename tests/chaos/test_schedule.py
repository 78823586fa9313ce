"""What `make chaos` will do, before it does it."""

import re
from pathlib import Path

import pytest

from tests.chaos.faults import KINDS
from tests.chaos.schedule import schedule


def test_a_seed_repeats_a_run() -> None:
    assert schedule(list(KINDS), 40, 7) == schedule(list(KINDS), 40, 7)
    assert schedule(list(KINDS), 40, 7) != schedule(list(KINDS), 40, 8)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_comes_before_any_comes_twice(seed: int) -> None:
    kinds = [planned.kind for planned in schedule(list(KINDS), len(KINDS), seed)]
    assert sorted(kinds) == sorted(KINDS)


def test_a_longer_run_begins_like_the_shorter_one() -> None:
    longer = [planned.kind for planned in schedule(list(KINDS), 50, 3)]
    assert longer[: len(KINDS)] == [planned.kind for planned in schedule(list(KINDS), len(KINDS), 3)]


def test_the_faults_of_ci_cover_every_kind() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
    (number,) = re.findall(r"^N \?= (\d+)$", makefile, re.MULTILINE)
    assert {planned.kind for planned in schedule(list(KINDS), int(number), 1)} == set(KINDS)
