"""Which fault is caused for which alerts, and which steps of the runbook end them."""

from __future__ import annotations

from collections.abc import Callable

from tests.drill.drill import Drill, Scene, Values


def _kill(name: str) -> Callable[[Scene], None]:
    def cause(scene: Scene) -> None:
        scene.stack.kill(name)

    return cause


def _process(name: str) -> Values:
    return lambda scene, printed: {"process": name}


LAG_KILLED = Drill(
    alerts={"ConsentRelayLagExporterAbsent": {}, "ConsentRelayProcessAbsent": {"process": "lag"}},
    caused="the lag exporter is killed (SIGKILL)",
    cause=_kill("lag"),
    within_seconds=60,
    steps=["restart-process"],
    values=_process("lag"),
)

DRILLS = (LAG_KILLED,)

NOT_DRILLED: dict[str, str] = {}
"""Alert -> why its fault is not caused here."""
