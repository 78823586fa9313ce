"""The status page asks for what is exported, by the limits of the alerts, in the words of the dashboards. # R40"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consent_api.operations.verify.compare import DifferenceKind
from consent_contracts.topics import Topics
from status_page import dead_letters, findings, questions
from status_page.findings import LIMITS, RUNBOOKS, TICKETS, Limit
from status_page.pages import WORDS
from status_page.settings import PROCESSES
from tests.support.prometheus import exported, selectors

ROOT = Path(__file__).parents[2]
EXPORTED = exported((ROOT / "docs" / "metrics.md").read_text("utf-8"))
QUERIES = questions.queries_of(questions.stages(Topics()))


def alerts() -> dict[str, dict[str, Any]]:
    """By name; of two rules of one name the first, which pages."""
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    return {rule["alert"].removeprefix("ConsentRelay"): rule for rule in reversed(rules)}


ALL_VALUES = {"kind": {each.value for each in DifferenceKind}}
"""Of labels of which an alert names the values that do not count."""
NOT_SHOWN = {
    "ClientStale": "a tool's own process exports it, which the page does not read",
    "PromiseBrokenSlowly": "the finding PromiseBroken is of the last 15 minutes: there is no other window",
}
"""Alerts that are no finding, and why."""
ALERTS = alerts() | {"PromiseBroken": alerts()["PromiseBrokenFast"], "NotReady": alerts()["ProcessAbsent"]}


@pytest.mark.parametrize("asked", QUERIES, ids=lambda asked: asked.series)
def test_every_metric_and_label_that_is_asked_for_is_exported(asked: questions.Query) -> None:
    assert set(asked.names) <= EXPORTED.keys()
    labels = {name for name, _ in (*asked.where, *asked.without)} | ({asked.by} if asked.by else set())
    assert labels <= EXPORTED[asked.series]


@pytest.mark.parametrize("series", [dead_letters.OFFSET, dead_letters.AT])
def test_what_the_list_of_dead_letters_reads_is_exported(series: str) -> None:
    assert {"topic", "partition", "reason"} <= EXPORTED[series]


def test_each_finding_leads_to_the_runbook_of_its_alert() -> None:
    for name, heading in RUNBOOKS.items():
        assert ALERTS[name]["annotations"]["runbook_url"] == f"docs/runbooks.md#{heading}"


def test_a_finding_is_less_than_red_where_its_alert_never_pages() -> None:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    paging = {rule["alert"] for rule in rules if rule["labels"]["severity"] == "page"}
    assert {name for name in RUNBOOKS if ALERTS[name]["alert"] not in paging} == TICKETS


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.alert} {limit.query.process} {limit.query.metric}")
def test_each_limit_is_that_of_its_alert(limit: Limit) -> None:
    expression = of_metrics(ALERTS[limit.alert]["expr"])
    assert limit.query.metric in expression
    assert limit.query.whole in expression
    without_labels = re.sub(r"\{[^}]*\}", "", calculated(expression))
    compared = without_labels.split(limit.query.metric)[1:]
    above = ">" if limit.above else "<"
    match limit.compared:
        case "until" if limit.limit == 0:
            same = [rf"{above} time\(\)"]
        case "until":
            same = [rf"- time\(\) {above} {limit.limit:.0f}"]
        case "since":
            assert f"time() - max by (destination) ({limit.query.metric})" in expression
            same = [f"{above} {limit.limit:g}"]
        case "number":
            # An alert of a state asks for it itself, where a limit is passed.
            same = [f"{above} {exact(limit.limit)}", f"== {exact(limit.limit + (1 if limit.above else -1))}"]
    assert any(re.search(rf"^[^=<>]*{text}(?![\d.])", part) for part in compared for text in same)


@pytest.mark.parametrize(
    "asked",
    {each.query: each for each in LIMITS if each.query.where}.values(),
    ids=lambda limit: f"{limit.alert} {limit.query.process} {limit.query.metric}",
)
def test_each_limit_is_of_the_series_that_its_alert_chooses(asked: Limit) -> None:
    series = [labels for name, labels in selectors(ALERTS[asked.alert]["expr"]) if name == asked.query.metric]
    assert series
    for label, values in asked.query.where:
        for labels in series:
            found = re.search(rf'\b{label}(=~|=|!~)"([^"]*)"', labels)
            assert found is not None, labels
            of_alert = set(found[2].split("|"))
            if found[1] == "!~":
                assert set(values) == ALL_VALUES[label] - of_alert
            else:
                # Where the alert is of each of several values, the page asks for each.
                of_page = {
                    value
                    for each in LIMITS
                    if each.alert == asked.alert
                    for name, values_of in each.query.where
                    if name == label
                    for value in values_of
                }
                assert of_page == of_alert


def of_metrics(expression: str) -> str:
    """An expression with that of each record in its place."""
    for record, of_record in records().items():
        expression = expression.replace(record, of_record.strip())
    return expression


def calculated(expression: str) -> str:
    """An expression with the products of numbers in it."""
    return re.sub(
        r"\b\d[\d.]*(?: \* \d[\d.]*)+",
        lambda found: exact(math.prod(float(each) for each in found[0].split(" * "))),
        expression,
    )


def exact(number: float) -> str:
    return f"{number:.10g}"


def test_the_other_limits_are_those_of_their_alerts() -> None:
    assert f"* {findings.LATE_SHARE}" in ALERTS["PromiseBroken"]["expr"]


def test_secrets_and_certificates_are_of_every_process() -> None:
    for of_each in (questions.UNREADABLE_SECRETS, questions.CERTIFICATE_ENDS):
        assert {each.process for each in of_each} == set(PROCESSES)


def test_every_alert_is_a_finding_or_named_as_not_shown() -> None:
    page = (ROOT / "docs" / "status-page.md").read_text("utf-8")
    shown = {ALERTS[name]["alert"].removeprefix("ConsentRelay") for name in RUNBOOKS}
    assert {name for name in alerts() if name not in shown} == NOT_SHOWN.keys()
    for name in NOT_SHOWN:
        assert f"`ConsentRelay{name}`" in page
    # Those that have two alerts, or none, of their name.
    assert RUNBOOKS.keys() - alerts().keys() == {"PromiseBroken", "NotReady"}


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
