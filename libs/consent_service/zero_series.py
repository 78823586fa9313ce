"""Series that exist before their first event: a counter that appears with the value 1 is no increase to Prometheus, so
that the first event would raise no alert."""

from collections.abc import Iterable
from itertools import product
from typing import TypeVar

from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)


def from_zero(metric: M, *values: Iterable[str]) -> M:
    """`metric`, with a series for each combination of the values: one iterable a label, in the order of the labels."""
    for combination in product(*map(tuple, values)):
        metric.labels(*combination)
    return metric
