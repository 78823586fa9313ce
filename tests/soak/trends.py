"""Whether a figure that is measured again and again is flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

MOST_POINTS = 200
"""So many have 19,900 pairs, which takes milliseconds; more are reduced to the medians of so many windows first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """By how much a figure may grow in the time that is judged, and be flat nevertheless: the larger of both."""

    share: float
    """Of its median."""
    least: float
    """In the figure's own unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """A figure over a time."""

    median: float
    growth: float
    """The slope times the time between the first and the last point, in the figure's own unit."""

    def is_flat(self, tolerance: Tolerance) -> bool:
        """A figure that falls is flat, too."""
        return self.growth <= max(tolerance.share * self.median, tolerance.least)


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """Of (time, value) in the order of time, by the estimator of Theil and Sen: the median of the slopes between all
    pairs of points, which a third of outliers does not change. Raises ValueError for fewer than three points."""
    if len(points) < 3:
        raise ValueError(f"{len(points)} points have no trend: measure for longer")
    kept = _windows(points)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(kept, 2) if b[0] > a[0]]
    if not slopes:
        raise ValueError("all points are of one time")
    seconds = points[-1][0] - points[0][0]
    return Trend(median=median(value for _, value in points), growth=median(slopes) * seconds)


def lows(points: Sequence[tuple[float, float]], *, window: float) -> list[tuple[float, float]]:
    """The least of each `window` seconds, at its beginning; what is left at the end is no window."""
    found: list[tuple[float, float]] = []
    begin = points[0][0] if points else 0.0
    while points and begin + window <= points[-1][0]:
        found.append((begin, min(value for at, value in points if begin <= at < begin + window)))
        begin += window
    return found


def _windows(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    if len(points) <= MOST_POINTS:
        return points
    ends = [round(number * len(points) / MOST_POINTS) for number in range(MOST_POINTS + 1)]
    windows = [points[a:b] for a, b in pairwise(ends)]
    return [(median(at for at, _ in each), median(value for _, value in each)) for each in windows]
