"""docs/benchmarks.md and docs/benchmarks.json: what was measured, on what, and how to measure it again."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tests.bench.figures import Figure

BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
BUSY = 1.5
PARTS = ("faust-streaming", "aiokafka", "confluent-kafka", "fastavro", "sqlalchemy", "fastapi")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One benchmark's run. `failure` is empty when it came to its figures; `began`: in UTC."""

    name: str
    began: datetime
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


def write(docs: Path, outcomes: Sequence[Outcome], *, load: float, order: Sequence[str]) -> None:
    """Replace the figures of these benchmarks in benchmarks.md, whose prose stays, and in benchmarks.json. Those of
    others stay as they were measured. `load`: of the machine before the first of them; `order`: the names of all."""
    about = machine() | {"load before": f"{load:.1f}"}
    kept = {found["name"]: found for found in _read(docs / "benchmarks.json")}
    for outcome in outcomes:
        figures = [asdict(figure) | {"met": figure.met} for figure in outcome.figures]
        measured = about | {"date": f"{outcome.began:%Y-%m-%d %H:%M} UTC"}
        kept[outcome.name] = asdict(outcome) | {
            "figures": figures,
            "began": outcome.began.isoformat(),
            "measured": measured,
        }
    found = [kept[name] for name in order if name in kept]
    (docs / "benchmarks.json").write_text(json.dumps({"benchmarks": found}, indent=2) + "\n")
    page = docs / "benchmarks.md"
    text = page.read_text() if page.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n".join(line for each in found for line in _section(each))
    page.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}")


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["benchmarks"] if path.exists() else []
    return found


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


def _section(found: dict[str, Any]) -> Iterator[str]:
    measured = found["measured"]
    yield f"\n### {found['name']}\n\n{found['about']}\n"
    yield (
        f"Measured {measured['date']} on {measured['processor']}, {measured['memory']}, {measured['system']}; load"
        f" before the run {measured['load before']}; in {found['seconds']:.0f} s."
    )
    if float(measured["load before"]) > BUSY:
        yield f"\n**The machine was busy with other work (load above {BUSY}): trust the ratios, not the values.**"
    yield "\n| figure | value | target | |\n|---|--:|--:|---|"
    names = {each.name for each in fields(Figure)}
    figures = [Figure(**{name: value for name, value in each.items() if name in names}) for each in found["figures"]]
    for figure in figures:
        yield f"| {figure.name} | {figure.text} | {figure.target_text} | {verdict(figure)} |"
    if found["failure"]:
        yield f"| {found['name']} | failed | | {found['failure']} |"
    for how in dict.fromkeys(figure.how for figure in figures if figure.how):
        yield f"\n{how[0].upper()}{how[1:]}."
