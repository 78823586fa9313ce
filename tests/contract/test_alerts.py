"""The rules and alerts that are shipped: what they ask for is exported, and each fires when it should. # R40"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.debian import unpacked
from tests.support.programs import loaded
from tests.support.prometheus import exported, selectors

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = ["rules.yml", "alerts.yml"]
CASES = PROMETHEUS / "tests" / "alerts.test.yml"


def rules() -> list[dict[str, Any]]:
    documents = [yaml.safe_load((PROMETHEUS / name).read_text("utf-8")) for name in RULES]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
COMPARISONS = {"above": ">", "below": "<", "at": "=="}
WATCHED: list[tuple[str, str, str]] = [
    (row[1].replace(r"\|", "|"), row[2], row[3])
    for row in re.finditer(
        r"^\| .*?\? \| (.*?) \| ([^|]*) \| `(\w+)` \|$", (ROOT / "docs" / "running.md").read_text("utf-8"), re.MULTILINE
    )
]
"""Of the table in docs/running.md: metrics, at what the alert fires, and which alert."""


def recorded(expression: str) -> str:
    """With what the recording rules that it asks for ask for."""
    records = [rule for rule in rules() if "record" in rule and rule["record"] in expression]
    return "".join((expression, *(rule["expr"] for rule in records)))


def slugs(page: str) -> set[str]:
    """The anchors of a page's headings, as the documentation site and code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']} {alert['labels']['severity']}")
def test_an_alert_says_what_it_means_and_leads_to_a_runbook_that_names_it(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    page, _, heading = alert["annotations"]["runbook_url"].partition("#")
    text = (ROOT / page).read_text("utf-8")
    assert heading in slugs(text)
    (section,) = [each for each in text.split("\n## ") if heading in slugs(f"## {each}")]
    assert f"`{alert['alert']}`" in section, f"{page}#{heading} does not name the alert, by which it is searched"


def test_the_rules_for_the_prometheus_operator_are_what_the_program_writes() -> None:
    program = loaded(PROMETHEUS / "generate.py")
    written = program.WRITTEN.read_text("utf-8")
    assert written == program.rendered(), "python deploy/prometheus/generate.py"
    documents = list(yaml.safe_load_all(written))
    assert [each["spec"] for each in documents] == [
        yaml.safe_load((PROMETHEUS / name).read_text("utf-8")) for name in RULES
    ]


def test_the_alerts_lead_to_the_copy_of_the_runbooks_that_is_named(tmp_path: Path) -> None:
    copy = shutil.copytree(PROMETHEUS, tmp_path / "deploy" / "prometheus")
    written = tmp_path / "deploy" / "kubernetes" / "components" / "monitoring" / "prometheus-rules.yaml"
    written.parent.mkdir(parents=True)
    url = "https://docs.example.com/relay/runbooks.html"
    command = [sys.executable, str(copy / "generate.py"), "--runbooks"]
    ended = subprocess.run([*command, url], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    shipped = loaded(PROMETHEUS / "generate.py").WRITTEN.read_text("utf-8")
    assert shipped.count("runbook_url: ") == len(ALERTS)
    assert written.read_text("utf-8") == shipped.replace("runbook_url: docs/runbooks.md#", f"runbook_url: {url}#")
    for wrong in (
        "docs/runbooks.md",
        "https://docs.example.com/runbooks#a",
        "https://docs.example.com/a b",
        "ftp://a/b",
    ):
        ended = subprocess.run([*command, wrong], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 2
        assert "--runbooks: must be an http(s) URL without a heading" in ended.stderr
    assert url in written.read_text("utf-8")


def test_every_metric_and_label_that_a_rule_asks_for_is_exported() -> None:
    known = exported((ROOT / "docs" / "metrics.md").read_text("utf-8"))
    for rule in rules():
        for name, selector in selectors(rule["expr"]):
            assert name in known, f"{rule.get('alert') or rule['record']} asks for {name}"
            assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[name], f"{name}{{{selector}}}"


def test_every_alert_has_a_case_that_fires_and_one_that_stays_quiet() -> None:
    """Of an alert that both pages and opens tickets, each rule has."""
    rules_of = Counter(alert["alert"] for alert in ALERTS)
    rules_named = {
        f"{alert['alert']} ({alert['labels']['severity']})" if rules_of[alert["alert"]] > 1 else alert["alert"]
        for alert in ALERTS
    }
    assert len(rules_named) == len(ALERTS)
    named = {case["name"] for case in yaml.safe_load(CASES.read_text("utf-8"))["tests"]}
    assert named == {f"{rule} {what}" for rule in rules_named for what in ("fires", "stays quiet")}


def test_the_table_of_what_an_operator_watches_is_read() -> None:
    page = (ROOT / "docs" / "running.md").read_text("utf-8")
    table = page.split("| question | metric | alert at |")[1].split("\n\n")[0]
    assert len(WATCHED) == len(table.splitlines()) - 2


@pytest.mark.parametrize("row", WATCHED, ids=lambda row: row[2])
def test_what_an_operator_watches_has_the_limits_of_its_alert(row: tuple[str, str, str]) -> None:
    metrics, limits, name = row
    alerts = [alert for alert in ALERTS if alert["alert"] == f"ConsentRelay{name}"]
    expression = "".join(recorded(alert["expr"]) for alert in alerts)
    for metric, labels in selectors(metrics):
        asked = [where for of, where in selectors(expression) if of == metric]
        assert labels in asked if labels else asked, f"{name} asks for no {metric}{{{labels}}}"
    assert all(each in expression for each in re.findall(r"`(increase.*?)`", metrics))
    stated = re.findall(r"(above|below|at) ([^\s:,]+(?: \* \d+)?)(?: for (\w+))?[^:;]*: (page|ticket)", limits)
    assert stated
    for comparison, limit, lasting, severity in stated:
        of_severity = [alert for alert in alerts if alert["labels"]["severity"] == severity]
        compared = f"{COMPARISONS[comparison]} {limit}"
        assert any(
            re.search(rf"{re.escape(compared)}(?![\w.])", alert["expr"]) and alert.get("for", "") == lasting
            for alert in of_severity
        ), f"{name}: {severity} {compared} for {lasting}"
    assert set(re.findall(r": (page|ticket)", limits)) == {alert["labels"]["severity"] for alert in alerts}


@pytest.mark.long
def test_promtool_accepts_the_rules_and_every_case_holds(tmp_path: Path) -> None:
    program = unpacked("promtool", package="prometheus", directory=tmp_path)
    for words in (["check", "rules", *RULES], ["test", "rules", str(CASES)]):
        ended = subprocess.run(
            [program, *words], cwd=PROMETHEUS, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
