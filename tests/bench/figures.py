"""What a benchmark reports. A module ``bench_<name>.py`` has ``measure(servers) -> list[Figure]``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    """Addresses of the real servers a benchmark may use."""

    kafka: str
    registry: str
    database: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured figure; ``target`` is met at or above it, or at or below it when ``at_most``."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False
    how: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None for a figure without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    @property
    def text(self) -> str:
        """The value with its unit."""
        return f"{_number(self.value)} {self.unit}"

    @property
    def target_text(self) -> str:
        """The target with its unit, empty without one."""
        return "" if self.target is None else f"{'≤' if self.at_most else '≥'} {_number(self.target)} {self.unit}"


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rate(work: Callable[[], int], *, rounds: int = 5) -> float:
    """Median over ``rounds`` of things per second; ``work`` returns how many it did."""
    rates = []
    for _ in range(rounds):
        start = perf_counter()
        done = work()
        rates.append(done / (perf_counter() - start))
    return median(rates)


def ratio(ours: Callable[[], int], baseline: Callable[[], int], *, rounds: int = 5) -> tuple[float, float, float]:
    """(median of ours / baseline, our rate, the baseline's rate), run in turns so that noise hits both."""
    pairs = [(rate(ours, rounds=1), rate(baseline, rounds=1)) for _ in range(rounds)]
    return median(a / b for a, b in pairs), median(a for a, _ in pairs), median(b for _, b in pairs)
