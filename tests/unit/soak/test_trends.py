"""What counts as flat in a soak."""

from __future__ import annotations

from random import Random

import pytest

from tests.soak.trends import MOST_POINTS, Tolerance, lows, trend

MEMORY = Tolerance(share=0.05, least=6.0)


def noisy(slope: float, *, count: int = 120, outliers: int = 0) -> list[tuple[float, float]]:
    """Around 100 at the beginning, a point each second."""
    random = Random(7)
    points = [(float(at), 100 + slope * at + random.uniform(-1, 1)) for at in range(count)]
    for number in random.sample(range(count), outliers):
        points[number] = (points[number][0], 1_000.0)
    return points


def test_a_level_is_flat_whatever_its_noise() -> None:
    found = trend(noisy(0.0))
    assert found.median == pytest.approx(100, abs=1)
    assert found.growth == pytest.approx(0, abs=1)
    assert found.is_flat(MEMORY)


def test_a_leak_is_not_flat() -> None:
    found = trend(noisy(0.1))
    assert found.growth == pytest.approx(11.9, abs=1)
    assert not found.is_flat(MEMORY)


def test_outliers_neither_hide_a_leak_nor_make_one() -> None:
    assert not trend(noisy(0.1, outliers=20)).is_flat(MEMORY)
    assert trend(noisy(0.0, outliers=20)).is_flat(MEMORY)


def test_what_falls_is_flat() -> None:
    assert trend(noisy(-0.5)).is_flat(MEMORY)


def test_the_larger_of_share_and_least_counts() -> None:
    grown = trend([(0.0, 1_000.0), (1.0, 1_020.0), (2.0, 1_040.0)])
    assert grown.is_flat(Tolerance(share=0.05, least=0.0))
    assert not grown.is_flat(Tolerance(share=0.01, least=6.0))


def test_many_points_have_the_trend_of_few() -> None:
    many = trend(noisy(0.1, count=MOST_POINTS * 20))
    assert many.growth == pytest.approx(0.1 * (MOST_POINTS * 20 - 1), rel=0.02)


@pytest.mark.parametrize("points", [[], [(0.0, 1.0)], [(0.0, 1.0), (1.0, 1.0)], [(1.0, 1.0)] * 3])
def test_a_time_that_is_too_short_has_no_trend(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"measure for longer|of one time"):
        trend(points)


def test_lows_leave_out_what_is_held_for_a_while() -> None:
    points = [(float(at), 80.0 if at % 10 < 8 else 20.0 + at / 10) for at in range(65)]
    assert lows(points, window=15.0) == [(0.0, 20.8), (15.0, 21.8), (30.0, 23.8), (45.0, 24.8)]
    assert lows([], window=15.0) == []
