"""What is shown at one moment, without words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from status_page import plots, questions
from status_page.dead_letters import DeadLetter
from status_page.events import Event
from status_page.findings import (
    HELD_SECONDS,
    LATE_SHARE,
    OF_DESTINATION,
    RUNBOOKS,
    TICKETS,
    Finding,
    Shown,
    findings,
    kept_share,
    withdrawn_at,
)
from status_page.history import History
from status_page.observed import Observed, ProcessState
from status_page.questions import Plot, Stage, Unit

Level = Literal["good", "attention", "bad", "unknown"]
Drain = Literal["empty", "grows", "drains", "steady", "unknown"]
State = Literal["up", "down", "held", "unverified", "paused", "unknown"]
_STEADY = 0.05
"""A backlog that changes by less a second is neither growing nor draining."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownLine:
    """``now``: None: not known. ``path``: of an SVG."""

    name: str
    now: float | None
    greatest: float | None
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownPlot:
    """``limit_path``: the line above which it is wrong, where it is within the picture. ``too_high``: it is above now.
    ``silent_since``: a process that it depends on does not answer (seconds since the epoch)."""

    name: str
    unit: Unit
    lines: Sequence[ShownLine]
    limit: float | None
    limit_path: str
    too_high: bool
    silent_since: float | None

    @property
    def greatest(self) -> float | None:
        """Of all lines, in the last 15 minutes."""
        return _greatest([each.greatest for each in self.lines])


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownStage:
    """One of the path."""

    name: str
    level: Level
    plots: Sequence[ShownPlot]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownDestination:
    """``kept``: the share of live revocations of the last 15 minutes that it took within 5 s. ``drain_seconds``: until
    its backlog is gone, where it drains. ``delivered_until``: seconds since the epoch."""

    name: str
    state: State
    level: Level
    kept: float | None
    drain: Drain
    drain_seconds: float | None
    delivered_until: float | None
    silent_since: float | None
    plots: Sequence[ShownPlot]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One answer at the top of the page."""

    name: str
    unit: Shown
    value: float | None
    level: Level
    silent_since: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """``at``: seconds since the epoch. ``seconds``: how much of the past the plots show. ``left_out``: how many
    destinations are not shown."""

    at: float
    seconds: float
    level: Level
    findings: Sequence[Finding]
    tiles: Sequence[Tile]
    stages: Sequence[ShownStage]
    destinations: Sequence[ShownDestination]
    left_out: int
    processes: Sequence[ProcessState]
    events: Sequence[Event]
    dead_letters: Sequence[DeadLetter]


def figures(observed: Observed) -> Figures:
    """Everything, from what was observed last."""
    found = findings(observed.history, silent=observed.silent, not_ready=observed.not_ready, now=observed.at)
    wrong = {each.about for each in found if each.alert in OF_DESTINATION}
    return Figures(
        at=observed.at,
        seconds=observed.shown_seconds,
        level=_level_of(observed, found),
        findings=found,
        tiles=_tiles(observed),
        stages=[_stage(observed, each) for each in observed.path],
        destinations=[_destination(observed, name, wrong) for name in observed.history.groups(questions.DOWN)],
        left_out=observed.history.left_out,
        processes=list(observed.processes.values()),
        events=list(observed.events),
        dead_letters=observed.dead_letters,
    )


def runbook(finding: Finding) -> str:
    return RUNBOOKS[finding.alert]


def _level_of(observed: Observed, found: Sequence[Finding]) -> Level:
    if not observed.at:
        return "unknown"
    if all(each.alert in TICKETS for each in found):
        return "attention" if found else "good"
    return "bad"


def _tiles(observed: Observed) -> list[Tile]:
    history = observed.history
    pushing = observed.silent_since(["propagator"])
    shares = [kept_share(history, name) for name in withdrawn_at(history)]
    age = history.now(questions.LIST_AGE)
    # What is not on the list yet, the propagator cannot count.
    is_stale = age is not None and age > questions.STALE_SECONDS
    pending = [history.now(questions.OLDEST, name) for name in history.groups(questions.OLDEST)]
    oldest = None if is_stale else _greatest(pending)
    backlogs = [
        history.now(each, name)
        for each in (questions.BACKLOG_LIVE, questions.BACKLOG_BULK)
        for name in history.groups(each)
    ]
    known = [] if is_stale else [each for each in backlogs if each is not None]
    kept = min((each for each in shares if each is not None), default=None)
    return [
        Tile(
            name="kept",
            unit="share",
            value=kept,
            level=_level(kept if pushing is None else None, lower=1 - LATE_SHARE),
            silent_since=pushing,
        ),
        Tile(name="oldest", unit="seconds", value=oldest, level=_level(oldest, upper=60.0), silent_since=pushing),
        Tile(
            name="list",
            unit="seconds",
            value=age,
            level=_level(age, upper=questions.STALE_SECONDS),
            silent_since=observed.silent_since(["lag"]),
        ),
        Tile(
            name="backlog",
            unit="count",
            value=sum(known) if known else None,
            level="good" if known else "unknown",
            silent_since=pushing,
        ),
    ]


def _stage(observed: Observed, stage: Stage) -> ShownStage:
    shown = [_plot(observed, each) for each in stage.plots]
    silent = any(each.silent_since is not None for each in shown)
    too_high = any(each.too_high for each in shown)
    return ShownStage(name=stage.name, level="bad" if silent else "attention" if too_high else "good", plots=shown)


def _plot(observed: Observed, plot: Plot, group: str = "") -> ShownPlot:
    history = observed.history
    columns = [
        plots.columns(
            history.points(line.query, group),
            until=observed.elapsed,
            seconds=observed.shown_seconds,
            interval=observed.interval,
            mean=line.query.how == "rate",
        )
        for line in plot.lines
    ]
    top = plots.top_of(columns, plot.limit)
    lines = [
        ShownLine(
            name=line.name,
            now=history.now(line.query, group),
            greatest=_greatest(values),
            path=plots.path(values, top=top),
        )
        for line, values in zip(plot.lines, columns, strict=True)
    ]
    within = plot.limit is not None and plot.limit <= top
    silent = observed.silent_since({line.query.process for line in plot.lines})
    return ShownPlot(
        name=plot.name,
        unit=plot.unit,
        lines=lines,
        limit=plot.limit,
        limit_path=plots.path([plot.limit] * len(columns[0]), top=top) if within else "",
        too_high=plot.limit is not None and lines[0].now is not None and lines[0].now > plot.limit,
        silent_since=silent,
    )


def _destination(observed: Observed, name: str, wrong: set[str]) -> ShownDestination:
    history = observed.history
    silent = observed.silent_since(["propagator"])
    drain, seconds = _drain(history, name)
    state = _state(history, name)
    return ShownDestination(
        name=name,
        state=state,
        level="unknown" if state == "unknown" else _level_of_state(state, is_wrong=name in wrong),
        kept=kept_share(history, name),
        drain=drain,
        drain_seconds=seconds,
        delivered_until=history.now(questions.DELIVERED_UNTIL, name),
        silent_since=silent,
        plots=[_plot(observed, each, name) for each in questions.OF_DESTINATION],
    )


def _state(history: History, name: str) -> State:
    down, verified, paused = (
        history.now(each, name) for each in (questions.DOWN, questions.VERIFIED, questions.PAUSED)
    )
    if down is None:
        return "unknown"
    if paused:
        return "paused"
    if down:
        return "down"
    if verified != 0:
        return "up"
    return "held" if history.lasts(questions.VERIFIED, name, 0.0, seconds=HELD_SECONDS) else "unverified"


def _level_of_state(state: State, *, is_wrong: bool) -> Level:
    if is_wrong or state in ("down", "held"):
        return "bad"
    return "good" if state == "up" else "attention"


def _drain(history: History, name: str) -> tuple[Drain, float | None]:
    """As `group:consent_relay_drain:seconds`: what is left, by how fast it becomes less."""
    left = [history.now(each, name) for each in (questions.BACKLOG_LIVE, questions.BACKLOG_BULK)]
    slopes = [history.slope(each, name) for each in (questions.BACKLOG_LIVE, questions.BACKLOG_BULK)]
    if all(each is None for each in left):
        return "unknown", None
    pending = sum(each or 0.0 for each in left)
    if pending == 0:
        return "empty", None
    if all(each is None for each in slopes):
        return "unknown", None
    slope = sum(each or 0.0 for each in slopes)
    if abs(slope) < _STEADY:
        return "steady", None
    return ("grows", None) if slope > 0 else ("drains", pending / -slope)


def _level(value: float | None, *, upper: float | None = None, lower: float | None = None) -> Level:
    if value is None:
        return "unknown"
    wrong = (upper is not None and value > upper) or (lower is not None and value < lower)
    return "bad" if wrong else "good"


def _greatest(values: Sequence[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)
