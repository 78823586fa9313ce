"""What the page asks of the metrics: one number at one moment each, or one for each destination. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from status_page.samples import Increase, Increases, Samples

How = Literal["max", "min", "abs", "sum", "rate", "count", "p50", "p99"]
"""Of a gauge's series the greatest, the least, the greatest without its sign, or all together; of a counter how fast it
grows (1/s), or by how much it has grown; of a histogram a quantile."""
QUANTILES: Mapping[How, float] = {"p50": 0.5, "p99": 0.99}
_PREFIX = "consent_relay_"
Buckets = Mapping[float, float]
"""Upper bound -> observations up to it, a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """``where``: the values that a label may have. ``without``: how its values may not end. ``by``: the label whose
    values have a number each. ``whole``: a gauge without labels of the same instance, of which each value is a
    share."""

    process: str
    metric: str
    how: How
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    without: tuple[tuple[str, tuple[str, ...]], ...] = ()
    by: str = ""
    whole: str = ""

    @property
    def series(self) -> str:
        """The name of what is read."""
        return f"{self.metric}_bucket" if self.how in QUANTILES else self.metric

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that is read."""
        return (self.series, self.whole) if self.whole else (self.series,)

    @property
    def of_counter(self) -> bool:
        return self.how in ("rate", "count") or self.how in QUANTILES


def query(process: str, metric: str, how: How, *, by: str = "", whole: str = "", **where: str | Sequence[str]) -> Query:
    """``where``: a label's value, or its values. `class_` is the label class."""
    accepted = ((name.rstrip("_"), (of,) if isinstance(of, str) else tuple(of)) for name, of in where.items())
    return Query(
        process=process,
        metric=f"{_PREFIX}{metric}",
        how=how,
        where=tuple(accepted),
        by=by,
        whole=f"{_PREFIX}{whole}" if whole else "",
    )


def gauged(asked: Query, answers: Iterable[Samples]) -> dict[str, float]:
    """By the value of the label `by`; of the answers of all instances of the process."""
    found: dict[str, list[float]] = {}
    for samples in answers:
        for labels, value in samples.get(asked.series, ()):
            if _matches(asked, labels) and (whole := _whole(asked, samples)):
                found.setdefault(labels.get(asked.by, ""), []).append(value / whole)
    match asked.how:
        case "abs":
            return {group: max(map(abs, values)) for group, values in found.items()}
        case "max":
            return {group: max(values) for group, values in found.items()}
        case "min":
            return {group: min(values) for group, values in found.items()}
        case _:
            return {group: sum(values) for group, values in found.items()}


def counted(asked: Query, answers: Iterable[Increases]) -> dict[str, float]:
    """By the value of the label `by`. A counter without a series has counted nothing."""
    found: dict[str, float] = {} if asked.by else {"": 0.0}
    for each in _matching(asked, answers):
        group = each.labels.get(asked.by, "")
        found[group] = found.get(group, 0.0) + (each.rate if asked.how == "rate" else each.grown)
    return found


def observed(asked: Query, answers: Iterable[Increases]) -> dict[str, Buckets]:
    """What a histogram observed, by the value of the label `by`."""
    found: dict[str, dict[float, float]] = {}
    for each in _matching(asked, answers):
        try:
            bound = float(each.labels.get("le", "nan"))
        except ValueError:
            continue
        buckets = found.setdefault(each.labels.get(asked.by, ""), {})
        buckets[bound] = buckets.get(bound, 0.0) + each.rate
    return dict(found)


def quantile(buckets: Buckets, q: float) -> float | None:
    """As Prometheus has it: linear within its bucket, and the greatest finite bound beyond. None: nothing was
    observed."""
    bounds = sorted(bound for bound in buckets if not math.isnan(bound))
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = q * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if math.isinf(bound):
                break
            share = (rank - below) / (buckets[bound] - below) if buckets[bound] > below else 1.0
            return lower + (bound - lower) * share
        lower, below = bound, buckets[bound]
    return lower


def _whole(asked: Query, samples: Samples) -> float:
    """By what each value is divided; 0: not known."""
    return sum(each.value for each in samples.get(asked.whole, ())) if asked.whole else 1.0


def _matching(asked: Query, answers: Iterable[Increases]) -> Iterable[Increase]:
    return (each for found in answers for each in found.get(asked.series, ()) if _matches(asked, each.labels))


def _matches(asked: Query, labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) in accepted for name, accepted in asked.where) and not any(
        labels.get(name, "").endswith(endings) for name, endings in asked.without
    )
