"""Reading the services' own metrics, as Prometheus would."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from local_stack import plain_http

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """One scrape: sample name to (labels, value)."""

    values: Mapping[str, Mapping[Labels, float]]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name whose labels hold at least these."""
        wanted = set(labels.items())
        return sum(value for found, value in self.values.get(name, {}).items() if wanted <= set(found))

    def greatest(self, name: str, **labels: str) -> float:
        """The greatest such sample, 0 when there is none."""
        wanted = set(labels.items())
        return max((value for found, value in self.values.get(name, {}).items() if wanted <= set(found)), default=0.0)

    def least(self, name: str, **labels: str) -> float | None:
        """The least such sample; None when there is none."""
        wanted = set(labels.items())
        return min((value for found, value in self.values.get(name, {}).items() if wanted <= set(found)), default=None)

    def buckets(self, name: str, **labels: str) -> list[tuple[float, float]]:
        """A histogram's cumulative buckets, summed over all other labels: (upper bound, count), ascending."""
        wanted = set(labels.items())
        sums: dict[float, float] = defaultdict(float)
        for found, value in self.values.get(f"{name}_bucket", {}).items():
            if wanted <= set(found):
                sums[float(dict(found)["le"])] += value
        return sorted(sums.items())


def scrape(url: str, *, timeout: float = 2.0) -> Samples:
    """The metrics at ``url`` (…/metrics). Raises httpx.HTTPError where there is no answer."""
    answer = plain_http.get(url, timeout=timeout)
    answer.raise_for_status()
    values: dict[str, dict[Labels, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            values[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return Samples(values)


def quantile(buckets: list[tuple[float, float]], q: float) -> float | None:
    """A histogram's quantile as Prometheus computes it: linear within its bucket. None without observations."""
    if not buckets or not buckets[-1][1]:
        return None
    rank = q * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * ((rank - below) / (count - below) if count > below else 1.0)
        lower, below = bound, count
    return lower


def since(now: list[tuple[float, float]], before: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """What a histogram observed between two scrapes."""
    earlier = dict(before)
    return [(bound, count - earlier.get(bound, 0.0)) for bound, count in now]


def over_restart(
    before: list[tuple[float, float]], last: list[tuple[float, float]], now: list[tuple[float, float]]
) -> list[tuple[float, float]]:
    """`before`, as a baseline for `now`. Where a count is lower than in the `last` scrape, another process counts from
    0: what the one before it had observed since `before` is then kept."""
    seen = dict(last)
    if all(count >= seen.get(bound, 0.0) for bound, count in now):
        return before
    return since(before or [(bound, 0.0) for bound, _ in last], last)
