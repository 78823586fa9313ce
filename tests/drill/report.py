"""docs/drill.md, from what a run has observed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.drill.drill import Observed
from tests.drill.drills import NOT_DRILLED
from tests.drill.rules import FACTOR, LEAST_RANGE_SECONDS

INTRO = f"""\
# The drill

`make drill` starts the whole system, a real Prometheus that scrapes it each second, and people who withdraw meanwhile.
For each alert below it causes the fault, waits until the alert fires, runs the marked steps of
[runbooks.md](runbooks.md) as they are written there, and waits until the alert is gone. It fails where an alert fires
before its fault or too late, a step does not work, or an alert stays. A run of all of them writes this page.

The rules are the shipped ones, with each `for` and each range divided by {FACTOR} and rounded up (ranges to
{LEAST_RANGE_SECONDS} s at least), so that an hour's window passes in two minutes. What a metric is compared with is not
divided: an alert at 60 s takes 60 s here, too. What is between `<` and `>` in a step is filled in like this:

| in the runbook | in the drill |
|---|---|
| `<restart>` | a command that has the local system kill a process and start it |
| `<broker>` | that of the local system |
| any other | what the alert's labels, or the step before, show |

"Gone after" is counted from the beginning of the first step.
"""


def page(observed: Sequence[Observed]) -> str:
    return "\n".join(_lines(observed)) + "\n"


def _lines(observed: Sequence[Observed]) -> Iterator[str]:
    yield INTRO
    yield "| alert | fault | fired after | steps | gone after |"
    yield "|---|---|---|---|---|"
    for each in sorted(observed, key=lambda one: one.alert):
        steps = ", ".join(f"`{name}`" for name in each.drill.steps)
        if each.drill.ended:
            steps += f"; then {each.drill.ended}"
        cells = [f"`{each.alert}`", each.drill.caused, f"{each.fired_after:.0f} s", steps, f"{each.gone_after:.0f} s"]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "## Not drilled"
    yield ""
    yield "| alert | why |"
    yield "|---|---|"
    for alert, why in sorted(NOT_DRILLED.items()):
        yield f"| `{alert}` | {why} |"
