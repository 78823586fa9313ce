"""What is flat, of all that was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.soak.rounds import PROMISE_SECONDS, REST_SECONDS, ROUND_SECONDS, Round, percentile
from tests.soak.samples import Samples
from tests.soak.trends import Tolerance, Trend, lows, trend

WARM_UP_SHARE = 0.2
"""Of the time, at its beginning, is not judged: caches fill, and pools open what they then keep."""
LOW_SECONDS = 1.5 * (ROUND_SECONDS + REST_SECONDS)
"""Each such time has a rest in it: connections that requests hold open for a while are no growth."""
TOLERANCES = {
    "memory": Tolerance(share=0.05, least=6.0),
    "handles": Tolerance(share=0.0, least=4.0),
    "threads": Tolerance(share=0.0, least=2.0),
    "latency": Tolerance(share=0.5, least=0.02),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One figure over the time that is judged. `at_most`: a limit for its median beside its growth."""

    what: str
    measure: str
    unit: str
    trend: Trend
    at_most: float | None = None

    @property
    def is_kept(self) -> bool:
        within = self.at_most is None or self.trend.median <= self.at_most
        return within and self.trend.is_flat(TOLERANCES[self.measure])


def judge(samples: Samples, rounds: Sequence[Round], seconds: float) -> Iterator[Verdict]:
    """Of a run of so many seconds. Raises ValueError if it is too short for a trend."""
    begin = WARM_UP_SHARE * seconds
    for (process, measure), points in samples.of_processes.items():
        judged = _after(begin, points)
        if measure == "memory":
            yield Verdict(what=process, measure=measure, unit="MB", trend=trend(judged))
        else:
            yield Verdict(what=process, measure=measure, unit="", trend=trend(lows(judged, window=LOW_SECONDS)))
    yield Verdict(what="gate, a check", measure="latency", unit="s", trend=trend(_after(begin, samples.checks)))
    later = rounds[round(WARM_UP_SHARE * len(rounds)) :]
    lasted = seconds * (1 - WARM_UP_SHARE) / max(len(later), 1)
    for what, percent, waits, limit in (
        ("sent to answered, p50", 50, [each.answered for each in later], None),
        ("withdrawal accepted to the tool, p50", 50, [each.informed for each in later], None),
        ("withdrawal accepted to the tool, p99", 99, [each.informed for each in later], PROMISE_SECONDS),
    ):
        points = [(number * lasted, percentile(each, percent)) for number, each in enumerate(waits)]
        yield Verdict(what=what, measure="latency", unit="s", trend=trend(points), at_most=limit)


def _after(begin: float, points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    return [point for point in points if point[0] >= begin]
