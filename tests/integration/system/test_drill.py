"""One drill of `make drill` on the running system: an alert from its fault to the end of its runbook. # R40"""

from __future__ import annotations

import sys
from pathlib import Path

from local_stack.stack import Stack
from tests.drill.drill import carry_out
from tests.drill.drills import drills
from tests.drill.faults import TokenCallers
from tests.drill.session import session


def test_a_lag_exporter_that_is_gone_is_noticed_and_the_runbook_mends_it(system: Stack, tmp_path: Path) -> None:
    [drill] = [
        each for each in drills(TokenCallers(tmp_path / "jwks.json")) if "ConsentRelayLagExporterAbsent" in each.alerts
    ]
    with session(system, tmp_path, lambda line: print(line, file=sys.stderr)) as scene:
        observed = carry_out(drill, scene)
    assert {each.alert for each in observed} == {"ConsentRelayLagExporterAbsent", "ConsentRelayProcessAbsent"}
    assert all(each.fired_after < drill.within_seconds for each in observed)
