"""The status page asks for what is exported, by the limits of the alerts, in the words of the dashboards. # R40"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consent_contracts.topics import Topics
from status_page import dead_letters, findings, questions
from status_page.findings import LIMITS, RUNBOOKS, Limit
from status_page.pages import WORDS
from tests.support.prometheus import exported, selectors

ROOT = Path(__file__).parents[2]
EXPORTED = exported((ROOT / "docs" / "metrics.md").read_text("utf-8"))
QUERIES = questions.queries_of(questions.stages(Topics()))


def alerts() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    return {rule["alert"].removeprefix("ConsentRelay"): rule for rule in rules}


ALERTS = alerts() | {"PromiseBroken": alerts()["PromiseBrokenFast"], "NotReady": alerts()["ProcessAbsent"]}


@pytest.mark.parametrize("asked", QUERIES, ids=lambda asked: asked.series)
def test_every_metric_and_label_that_is_asked_for_is_exported(asked: questions.Query) -> None:
    assert asked.series in EXPORTED
    labels = {name for name, _ in asked.where} | ({asked.by} if asked.by else set())
    assert labels <= EXPORTED[asked.series]


@pytest.mark.parametrize("series", [dead_letters.OFFSET, dead_letters.AT])
def test_what_the_list_of_dead_letters_reads_is_exported(series: str) -> None:
    assert {"topic", "partition", "reason"} <= EXPORTED[series]


def test_each_finding_leads_to_the_runbook_of_its_alert() -> None:
    for name, heading in RUNBOOKS.items():
        assert ALERTS[name]["annotations"]["runbook_url"] == f"docs/runbooks.md#{heading}"


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.alert} {limit.query.metric}")
def test_each_limit_is_that_of_its_alert(limit: Limit) -> None:
    expression = ALERTS[limit.alert]["expr"]
    assert limit.query.metric in expression
    compared = expression.split(limit.query.metric)[1:]
    # An alert of a state asks for it itself, where a limit is passed.
    same = f"{'>' if limit.above else '<'} {limit.limit:g}", f"== {limit.limit + (1 if limit.above else -1):g}"
    assert any(re.search(rf"[^=<>]*(?:\{{[^}}]*\}})?[^=<>]*(?:{text})\b", part) for part in compared for text in same)


def test_the_other_limits_are_those_of_their_alerts() -> None:
    assert f"> {findings.DELIVERED_UNTIL_SECONDS:.0f}" in ALERTS["DeliveredUntilStalled"]["expr"]
    assert f"* {findings.LATE_SHARE}" in ALERTS["PromiseBroken"]["expr"]


def records() -> dict[str, str]:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text("utf-8"))
    return {rule["record"]: rule["expr"] for group in document["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("window", ["5m", "30m", "1h", "6h"])
def test_what_counts_as_kept_is_what_the_rules_count(window: str) -> None:
    pending = "destination:consent_relay_late_pending_revocations:sum"
    late = records()[f"destination:consent_relay_late_revocations:ratio_rate{window}"]
    taken, all_of_them = late.split(" / ")
    assert chosen(taken) == [of_query(questions.IN_TIME)]
    assert chosen(all_of_them) == [of_query(questions.REVOCATIONS)]
    assert f"or 0 * {pending}" in taken
    assert f"or {pending}" in all_of_them
    assert f"[{window}]" in taken
    assert f"[{window}]" in all_of_them
    waiting, oldest = records()[pending].split(" * ")
    assert chosen(waiting) == [of_query(questions.WAITING)]
    assert chosen(oldest) == [of_query(questions.OLDEST)]
    assert f"> bool {questions.PROMISED_SECONDS:g})" in oldest


def chosen(expression: str) -> list[tuple[str, set[tuple[str, str]]]]:
    """The series that an expression asks for."""
    return [(name, set(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in selectors(expression)]


def of_query(asked: questions.Query) -> tuple[str, set[tuple[str, str]]]:
    return asked.series, {(name, value) for name, values in asked.where for value in values}


def test_what_is_asked_at_the_top_is_what_the_overview_asks() -> None:
    overview = (ROOT / "deploy" / "grafana" / "dashboards" / "overview.json").read_text("utf-8")
    assert "1 - max(destination:consent_relay_late_revocations:ratio_rate1h)" in overview
    tiles = {name: text for name, text in WORDS["en"].texts["tiles"].items() if not name.endswith("_unknown")}
    assert len(tiles) == 4
    assert all(f'"{text}"' in overview for text in tiles.values())
