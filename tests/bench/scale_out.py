"""What several processes do together: their throughput, their processor time, and whether the machine's cores are the
limit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psutil

from tests.bench.figures import Figure
from tests.bench.processes import Process

COUNTS = (1, 2, 4)
LOOK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """So many processes for some seconds: what they did, and the cores that were busy meanwhile, on average."""

    processes: int
    per_second: float
    milliseconds: float
    """Processor time of these processes for one change or push."""
    own_cores: float
    """That these processes kept busy."""
    busy_cores: float
    """Of the whole machine, whatever kept them busy."""


def observe(workers: Sequence[Process], done: Callable[[], float], *, until: Callable[[float, float], bool]) -> Run:
    """From now until `until` is true of what is done and of the seconds since now."""
    began, first, used, idle = time.monotonic(), done(), _seconds_used(workers), _idle()
    while not until(last := done(), time.monotonic() - began):
        time.sleep(LOOK_SECONDS)
    seconds, worked = time.monotonic() - began, _seconds_used(workers) - used
    return Run(
        processes=len(workers),
        per_second=(last - first) / seconds,
        milliseconds=1e3 * worked / (last - first),
        own_cores=worked / seconds,
        busy_cores=_cores() - (_idle() - idle) / seconds,
    )


def table(what: str, thing: str, runs: Sequence[Run], how: str) -> Iterator[Figure]:
    """A figure each of every run; `runs` begins with that of one process."""
    alone = runs[0]
    for run in runs:
        name = f"{what}, {run.processes} {'process' if run.processes == 1 else 'processes'}"
        yield Figure(name=name, value=run.per_second, unit=f"{thing}/s", how=how)
        if run is not alone:
            efficiency = run.per_second / (run.processes * alone.per_second)
            yield Figure(name=f"{name}: efficiency", value=efficiency, unit="ratio")
            spent = alone.milliseconds / run.milliseconds
            yield Figure(name=f"{name}: efficiency of processor time", value=spent, unit="ratio")
        yield Figure(name=f"{name}: processor time of one", value=run.milliseconds, unit="ms")
        yield Figure(name=f"{name}: cores of these processes", value=run.own_cores, unit="cores")
        yield Figure(name=f"{name}: cores in use", value=run.busy_cores, unit=f"of {_cores()}")


def _seconds_used(workers: Sequence[Process]) -> float:
    return sum(worker.processor_seconds() for worker in workers)


def _idle() -> float:
    spent = psutil.cpu_times()
    return float(spent.idle + getattr(spent, "iowait", 0.0))


def _cores() -> int:
    return os.cpu_count() or 1
