"""What one process exports at one moment, of that which the page shows. Pure; foreign bytes within bounds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from status_page.errors import ScrapeFailedError

MOST_SAMPLES = 20_000
"""Of one process: some thirty a destination."""
LONGEST_LINE = 4_096
STARTED = "process_start_time_seconds"
"""By which a restart is known: a counter may have passed its old value by then."""
_COUNTED = ("_total", "_bucket", "_count")


class Sample(NamedTuple):
    """One series: its labels, and what it holds."""

    labels: Mapping[str, str]
    value: float


class Increase(NamedTuple):
    """By how much a counter has grown, and how fast (1/s), between two answers of its process."""

    labels: Mapping[str, str]
    grown: float
    rate: float


Samples = Mapping[str, Sequence[Sample]]
"""By name."""
Increases = Mapping[str, Sequence[Increase]]


def parse(page: str, wanted: Collection[str]) -> Samples:
    """The samples of these names in Prometheus' text format. What is not a number, or infinite, is not known, and left
    out. Raises ScrapeFailedError."""
    lines = [line for line in page.split("\n") if _name(line) in wanted]
    if len(lines) > MOST_SAMPLES or any(len(line) > LONGEST_LINE for line in lines):
        raise ScrapeFailedError("too_large", "the page has too many series, or too long ones")
    found: dict[str, list[Sample]] = {}
    try:
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                if math.isfinite(sample.value):
                    found.setdefault(sample.name, []).append(Sample(sample.labels, sample.value))
    except (ValueError, LookupError):
        raise ScrapeFailedError("unreadable", "the page is not in Prometheus' text format") from None
    return found


def increases(before: Samples, now: Samples, seconds: float) -> Increases:
    """Of every counter in `now`. One that is lower than `before`, or of a process that was started since, began at 0;
    so did one that was not there before."""
    restarted = _started(before) != _started(now)
    found: dict[str, list[Increase]] = {}
    for name, samples in now.items():
        if not name.endswith(_COUNTED):
            continue
        known = {} if restarted else {_key(each.labels): each.value for each in before.get(name, ())}
        grown = found.setdefault(name, [])
        for labels, value in samples:
            last = known.get(_key(labels), 0.0)
            increase = value - last if value >= last else value
            grown.append(Increase(labels, increase, increase / seconds))
    return found


def _name(line: str) -> str:
    return line[: min((at for at in (line.find("{"), line.find(" ")) if at >= 0), default=0)]


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _started(samples: Samples) -> float | None:
    return samples[STARTED][0].value if samples.get(STARTED) else None
