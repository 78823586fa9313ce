"""docs/benchmarks.md and docs/benchmarks.json: what was measured, on what, and how to measure it again."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.bench.figures import Figure

BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
BUSY = 1.5
PARTS = ("faust-streaming", "aiokafka", "confluent-kafka", "fastavro", "sqlalchemy", "fastapi")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One benchmark's run. `failure` is empty when it came to its figures."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    seconds: float
    failure: str


def verdict(figure: Figure) -> str:
    """Whether the target is met, or by how much it is missed."""
    if figure.met is None or figure.target is None:
        return ""
    if figure.met:
        return "met"
    return f"missed by {abs(figure.value - figure.target) / figure.target:.0%}"


def write(docs: Path, outcomes: Sequence[Outcome], *, load: float, minutes: float) -> None:
    """Replace the figures in benchmarks.md, whose prose stays, and all of benchmarks.json."""
    about = machine() | {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "load before the run": f"{load:.1f}"}
    found = [
        {"name": outcome.name, "seconds": round(outcome.seconds, 1), "failure": outcome.failure}
        | {"figures": [asdict(figure) | {"met": figure.met} for figure in outcome.figures]}
        for outcome in outcomes
    ]
    (docs / "benchmarks.json").write_text(json.dumps({"machine": about, "benchmarks": found}, indent=2) + "\n")
    page = docs / "benchmarks.md"
    text = page.read_text() if page.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    figures = "\n".join(_figures(outcomes, about, minutes))
    page.write_text(f"{before}{BEGIN}\n\n{figures}\n{END}{after}")


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures: no names, no paths."""
    return {
        "processor": f"{os.cpu_count()} cores of {_processor()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in PARTS),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _figures(outcomes: Sequence[Outcome], about: dict[str, str], minutes: float) -> Iterator[str]:
    yield from (f"* {name}: {value}" for name, value in about.items())
    yield f"* the whole run: {minutes:.1f} minutes"
    if float(about["load before the run"]) > BUSY:
        yield f"* **the machine was busy with other work (load above {BUSY}): trust the ratios, not the values**"
    for outcome in outcomes:
        yield f"\n### {outcome.name}\n\n{outcome.about}\n\n| figure | value | target | |\n|---|--:|--:|---|"
        for figure in outcome.figures:
            yield f"| {figure.name} | {figure.text} | {figure.target_text} | {verdict(figure)} |"
        if outcome.failure:
            yield f"| {outcome.name} | failed | | {outcome.failure} |"
        for how in dict.fromkeys(figure.how for figure in outcome.figures if figure.how):
            yield f"\n{how[0].upper()}{how[1:]}."
    yield ""
