"""Points as the path of an SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from status_page.history import Point

WIDTH, HEIGHT = 180, 44
_TOP = 3
"""Of the picture, kept free for the line's width."""
_MOST_COLUMNS = 90


def columns(
    points: Sequence[Point], *, until: float, seconds: float, interval: float, mean: bool
) -> list[float | None]:
    """The last `seconds` in equal parts: of each its mean, or its greatest, so that no peak is hidden. None where
    something in it is not known, or nothing is there. ``interval``: between two points; each part has one or more."""
    count = max(2, min(_MOST_COLUMNS, math.floor(seconds / (2 * interval))))
    found: list[list[float | None]] = [[] for _ in range(count)]
    for at, value in points:
        column = math.floor((at - until + seconds) / seconds * count)
        if at <= until and column >= 0:
            found[min(column, count - 1)].append(value)
    return [_part(values, mean) for values in found]


def path(values: Sequence[float | None], *, top: float) -> str:
    """The `d` of a path within WIDTH and HEIGHT, with gaps where a value is None. ``top``: the value at the upper
    edge."""
    step = WIDTH / (len(values) - 1)
    parts: list[str] = []
    pen_down = False
    for column, value in enumerate(values):
        if value is None:
            pen_down = False
            continue
        y = HEIGHT - 1 - min(value / top, 1.0) * (HEIGHT - 1 - _TOP) if top > 0 else HEIGHT - 1
        x = column * step
        # A point without neighbours is drawn as a line too short to see but for its round ends.
        parts.append(f"L{x:.1f} {y:.1f}" if pen_down else f"M{x:.1f} {y:.1f}h.1")
        pen_down = True
    return "".join(parts)


def top_of(lines: Sequence[Sequence[float | None]], limit: float | None) -> float:
    """The value at the upper edge: the greatest, or the limit where the greatest comes near to it."""
    greatest = max((each for values in lines for each in values if each is not None), default=0.0)
    if limit is not None and greatest > limit / 3:
        return max(greatest, limit * 1.1)
    return greatest


def _part(values: Sequence[float | None], mean: bool) -> float | None:
    known = [each for each in values if each is not None]
    if not known or len(known) < len(values):
        return None
    return sum(known) / len(known) if mean else max(known)
