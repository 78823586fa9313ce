"""docs/drill.md, from what a run has observed. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tests.drill.drill import Observed
from tests.drill.rules import FACTOR, LEAST_RANGE_SECONDS

DOCS = Path(__file__).parents[2] / "docs" / "drill.md"

INTRO = f"""\
# The drill

`make drill` starts the whole system, a real Prometheus that scrapes it each second, and people who withdraw meanwhile.
For each alert below it causes the fault, waits until the alert fires, runs the marked steps of
[runbooks.md](runbooks.md) as they are written there, and waits until the alert is gone. It fails where an alert fires
before its fault or too late, a step does not work, or an alert stays. Each drill that ends well writes its rows below.

The rules are the shipped ones, with each `for`, each range and each time since a start divided by {FACTOR} (ranges are
{LEAST_RANGE_SECONDS} s at least), so that an hour's window passes in two minutes. What a metric is compared with is not
divided: an alert at 60 s takes 60 s here, too. What is between `<` and `>` in a step is filled in like this:

| in the runbook | in the drill |
|---|---|
| `<restart>` | a command that has the local system kill a process and start it |
| `<broker>` | that of the local system |
| any other | what the alert's labels, or the step before, show |

"Gone after" is counted from the beginning of the first step. With a star: what the alert counts happened once, so it
would have ended with its window, whatever is done. There the drill shows that the steps work, not that they end it.
"""


_ROW = re.compile(r"^\| `(ConsentRelay\w+)` \|.*", re.MULTILINE)


def page(observed: Sequence[Observed], day: date, before: str = "") -> str:
    """``before``: the page of earlier runs, whose rows stay where nothing newer is observed."""
    rows = {found[1]: found[0] for found in _ROW.finditer(before)}
    rows |= {each.alert: _row(each, day) for each in observed}
    return "\n".join(
        (
            INTRO,
            "| alert | fault | fired after | steps | gone after | run on |",
            "|---|---|---|---|---|---|",
            *(rows[alert] for alert in sorted(rows)),
            "",
        )
    )


def _row(each: Observed, day: date) -> str:
    steps = ", ".join(f"`{name}`" for name in each.drill.steps)
    if each.drill.ended:
        steps += f"; then {each.drill.ended}"
    gone = f"{each.gone_after:.0f} s{' *' * each.drill.happens_once}"
    return f"| `{each.alert}` | {each.drill.caused} | {each.fired_after:.0f} s | {steps} | {gone} | {day} |"
