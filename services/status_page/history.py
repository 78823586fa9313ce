"""The last 15 minutes of everything that the page asks, in memory. Pure.

Bounded: a fixed set of queries, of each so many destinations and so many points. While a process does not answer its
numbers are not known, which is never the same as zero.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from status_page.queries import QUANTILES, Buckets, Query, counted, gauged, observed, quantile
from status_page.samples import Increases, Samples

SECONDS = 900.0
"""What is kept and shown."""
LEAST_SHOWN_SECONDS = 120.0
OBSERVED_SECONDS = 60.0
"""Quantiles, drain times and present rates are of so much time: long enough for a tool that is called once a second."""
MOST_GROUPS = 100
"""Destinations: more are counted, and not shown."""
LONGEST_GROUP = 100


class Point(NamedTuple):
    """``at`` in seconds on the page's clock; None: not known."""

    at: float
    value: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What was read at one moment, by kind of process: of each instance that answered. ``incomplete``: kinds of which
    an instance did not answer; ``increases`` has only what was there twice in a row."""

    at: float
    samples: Mapping[str, Sequence[Samples]]
    increases: Mapping[str, Sequence[Increases]]
    incomplete: Collection[str]


class History:
    """One series for each query and destination. ``interval``: seconds between two answers."""

    def __init__(self, queries: Collection[Query], *, interval: float) -> None:
        self._queries = tuple(dict.fromkeys(queries))
        self._length = math.ceil(SECONDS / interval) + 1
        self._points: dict[Query, dict[str, deque[Point]]] = {each: {} for each in self._queries}
        self._buckets: dict[Query, dict[str, deque[tuple[float, Buckets]]]] = {
            each: {} for each in self._queries if each.how in QUANTILES
        }
        self.left_out = 0
        """Destinations of the last answers that are not kept."""

    def add(self, answers: Answers) -> None:
        self.left_out = 0
        for asked in self._queries:
            self._append(asked, answers.at, self._evaluate(asked, answers))

    def points(self, asked: Query, group: str = "") -> Sequence[Point]:
        """The oldest first."""
        return tuple(self._points[asked].get(group, ()))

    def groups(self, asked: Query) -> list[str]:
        """The values of the query's label that were seen in the last 15 minutes."""
        return sorted(self._points[asked])

    def now(self, asked: Query, group: str = "") -> float | None:
        """The last number; of a rate the mean of the last minute's; None where it is not known now."""
        points = self._points[asked].get(group)
        if not points or points[-1].value is None:
            return None
        if asked.how != "rate":
            return points[-1].value
        return self.mean(asked, group, seconds=OBSERVED_SECONDS)

    def mean(self, asked: Query, group: str = "", *, seconds: float = SECONDS) -> float | None:
        known = self._known(asked, group, seconds)
        return sum(each.value or 0.0 for each in known) / len(known) if known else None

    def total(self, asked: Query, group: str = "") -> float:
        """The sum of what was counted."""
        return sum(each.value or 0.0 for each in self._known(asked, group, SECONDS))

    def slope(self, asked: Query, group: str = "") -> float | None:
        """By how much a gauge grows a second, in the last minute: the line through its points, as Prometheus' deriv."""
        known = self._known(asked, group, OBSERVED_SECONDS)
        if len(known) < 3:
            return None
        middle = sum(each.at for each in known) / len(known)
        mean = sum(each.value or 0.0 for each in known) / len(known)
        spread = sum((each.at - middle) ** 2 for each in known)
        return sum((each.at - middle) * ((each.value or 0.0) - mean) for each in known) / spread

    def lasts(self, asked: Query, group: str, value: float, *, seconds: float) -> bool | None:
        """Whether a gauge has had this value for so long, at every known point; None: not known now."""
        points = self._points[asked].get(group)
        if not points or points[-1].value is None:
            return None
        since = points[-1].at - seconds
        if points[0].at > since:
            return False
        return all(each.value in (None, value) for each in points if each.at >= since)

    def _known(self, asked: Query, group: str, seconds: float) -> list[Point]:
        points = self._points[asked].get(group)
        if not points:
            return []
        since = points[-1].at - seconds
        return [each for each in points if each.at >= since and each.value is not None]

    def _evaluate(self, asked: Query, answers: Answers) -> dict[str, float | None]:
        if asked.process in answers.incomplete:
            return {}
        increases = answers.increases.get(asked.process, ())
        if asked.how in QUANTILES:
            return self._quantiles(asked, answers.at, observed(asked, increases))
        if asked.of_counter:
            return {**counted(asked, increases)} if increases else {}
        return {**gauged(asked, answers.samples.get(asked.process, ()))}

    def _quantiles(self, asked: Query, at: float, found: Mapping[str, Buckets]) -> dict[str, float | None]:
        kept = self._buckets[asked]
        for group, buckets in found.items():
            if group in kept or len(kept) < MOST_GROUPS:
                kept.setdefault(group, deque(maxlen=self._length)).append((at, buckets))
        answered: dict[str, float | None] = {}
        for group, window in list(kept.items()):
            while window and window[0][0] < at - OBSERVED_SECONDS:
                window.popleft()
            if not window:
                del kept[group]
                continue
            sums: dict[float, float] = {}
            for _, buckets in window:
                for bound, rate in buckets.items():
                    sums[bound] = sums.get(bound, 0.0) + rate
            answered[group] = quantile(sums, QUANTILES[asked.how])
        return answered

    def _append(self, asked: Query, at: float, found: Mapping[str, float | None]) -> None:
        kept = self._points[asked]
        # Sources, secrets and topics may be more than fit: of events that none had there is nothing to show.
        skips_idle = asked.how == "count" and asked.by != "destination"
        for group, value in found.items():
            if skips_idle and not value:
                continue
            if group not in kept and len(group) <= LONGEST_GROUP and len(kept) < MOST_GROUPS:
                kept[group] = deque(maxlen=self._length)
        if asked.by == "destination":
            self.left_out = max(self.left_out, len(found.keys() - kept.keys()))
        for group, points in list(kept.items()):
            points.append(Point(at, found.get(group)))
            if len(points) == self._length and all(each.value is None for each in points):
                del kept[group]
