"""The drill: it concerns every alert and every marked step of the runbooks, and its page is of these. # R40"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.drill.drills import drills
from tests.drill.faults import TokenCallers
from tests.drill.report import DOCS
from tests.drill.rules import scaled
from tests.drill.runbook import PAGE, Step, steps
from tests.support.debian import unpacked
from tests.support.running_prometheus import RULES, SHIPPED

ALERTS = {
    rule["alert"]
    for group in yaml.safe_load((SHIPPED / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
}


def test_every_alert_is_drilled_once(tmp_path: Path) -> None:
    drilled = [alert for each in drills(TokenCallers(tmp_path / "jwks.json")) for alert in each.alerts]
    assert sorted(drilled) == sorted(ALERTS)


def test_every_step_that_is_marked_is_run(tmp_path: Path) -> None:
    run = {name for each in drills(TokenCallers(tmp_path / "jwks.json")) for name in each.steps}
    assert run == steps(PAGE.read_text("utf-8")).keys()


def test_the_page_has_a_row_for_each_alert() -> None:
    assert sorted(re.findall(r"^\| `(ConsentRelay\w+)` \|", DOCS.read_text("utf-8"), re.MULTILINE)) == sorted(ALERTS)


def test_a_step_is_the_text_of_the_page_and_says_what_has_no_value() -> None:
    page = "Do this:\n\n<!-- drill: do it -->\n```\n<restart> <process>\n```\n\n```\nnot marked\n```\n"
    assert steps(page) == {"it": Step(name="it", changes=True, text="<restart> <process>\n")}
    assert steps(page)["it"].filled({"restart": "systemctl restart", "process": "lag"}) == "systemctl restart lag\n"
    with pytest.raises(ValueError, match="step it: no value for process"):
        steps(page)["it"].filled({"restart": "systemctl restart"})
    with pytest.raises(ValueError, match="twice"):
        steps(page + page)


@pytest.mark.parametrize(
    ("rule", "shorter"),
    [
        ("for: 1m", "for: 2s"),
        ("for: 30s", "for: 1s"),
        ("rate(a[6h])", "rate(a[720s])"),
        ("rate(a[2m])", "rate(a[5s])"),
        ("time() - process_start_time_seconds < 900", "time() - process_start_time_seconds < 30"),
        ("a:ratio_rate1h > 60", "a:ratio_rate1h > 60"),
    ],
)
def test_durations_are_divided_and_limits_are_not(rule: str, shorter: str) -> None:
    assert scaled(rule, 30) == shorter


@pytest.mark.long
def test_promtool_accepts_the_shorter_rules(tmp_path: Path) -> None:
    program = unpacked("promtool", package="prometheus", directory=tmp_path)
    for name in RULES:
        (tmp_path / name).write_text(scaled((SHIPPED / name).read_text("utf-8")), "utf-8")
    ended = subprocess.run(
        [program, "check", "rules", *RULES], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
