"""One drill: a fault is caused, its alerts fire, the runbook's steps are run, the alerts are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from local_stack.stack import Stack
from tests.drill.runbook import Step
from tests.drill.shell import Shell
from tests.support.running_prometheus import Prometheus
from tests.support.waiting import until

GONE_SECONDS = 300.0
"""For an alert to be gone after the last step: the longest window that has to pass is an hour's, two minutes here."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a drill acts on. ``say`` takes lines of progress."""

    stack: Stack
    prometheus: Prometheus
    shell: Shell
    steps: Mapping[str, Step]
    values: Mapping[str, str]
    """Of placeholders that mean the same in every drill."""
    say: Callable[[str], None]
    undo: ExitStack
    """What a fault leaves outside the system is registered here, to be removed at the end of the run."""


Values = Callable[[Scene, str], Mapping[str, str]]
"""Values of placeholders, from what the steps before have printed."""


@dataclass(frozen=True, kw_only=True)
class Drill:
    """``alerts``: each with labels that the firing one has. ``caused``, ``ended``: in words, for docs/drill.md."""

    alerts: Mapping[str, Mapping[str, str]]
    caused: str
    cause: Callable[[Scene], None]
    within_seconds: float
    """For all of its alerts to fire, after the fault."""
    steps: Sequence[str]
    values: Values = field(default=lambda scene, printed: {})
    ended: str = ""
    """What happens besides the steps: others' part of the cure."""
    end: Callable[[Scene], None] | None = None
    happens_once: bool = False
    """What the alert counts: it is gone when its window has passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """Of one alert. Seconds: it fired so long after the fault, and was gone so long after the first step began."""

    alert: str
    drill: Drill
    fired_after: float
    gone_after: float


def carry_out(drill: Drill, scene: Scene) -> list[Observed]:
    """Fails where an alert fires before its fault or does not fire, a step does not work, or an alert stays."""
    scene.say(f"{', '.join(drill.alerts)}: {drill.caused}")
    until(lambda: not _firing(drill, scene), what=f"quiet before the fault: {drill.alerts}", seconds=GONE_SECONDS)
    began = time.monotonic()
    drill.cause(scene)
    fired = _until_each(drill, scene, began, drill.within_seconds, firing=True)
    began, printed = time.monotonic(), ""
    for name in drill.steps:
        step = scene.steps[name]
        scene.say(f"    {'do' if step.changes else 'see'} {name}")
        printed += scene.shell.run(step, step.filled({**scene.values, **drill.values(scene, printed)}))
    if drill.end is not None:
        scene.say(f"    {drill.ended}")
        drill.end(scene)
    gone = _until_each(drill, scene, began, GONE_SECONDS, firing=False)
    return [Observed(alert=name, drill=drill, fired_after=fired[name], gone_after=gone[name]) for name in drill.alerts]


def _until_each(drill: Drill, scene: Scene, began: float, seconds: float, *, firing: bool) -> dict[str, float]:
    reached: dict[str, float] = {}

    def all_have() -> bool:
        now = _firing(drill, scene)
        for name in drill.alerts:
            if name not in reached and (name in now) == firing:
                reached[name] = time.monotonic() - began
                scene.say(f"    {'fires' if firing else 'is gone'} after {reached[name]:.0f} s: {name}")
        return len(reached) == len(drill.alerts)

    until(all_have, seconds=seconds, every=0.2, what=f"{'firing' if firing else 'gone'}: {drill.alerts}")
    return reached


def _firing(drill: Drill, scene: Scene) -> set[str]:
    firing = scene.prometheus.firing()
    return {
        name
        for name, labels in drill.alerts.items()
        if any(each["alertname"] == name and labels.items() <= each.items() for each in firing)
    }
