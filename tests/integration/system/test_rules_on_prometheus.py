"""The shipped rules on a real Prometheus that scrapes the running system. # R39, R40"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from pathlib import Path

import yaml

from local_stack.stack import Stack
from tests.integration.system.test_system import submit
from tests.support import registers
from tests.support.prometheus import selectors
from tests.support.running_prometheus import RULES, SHIPPED, Prometheus, running
from tests.support.waiting import until

DASHBOARDS = SHIPPED.with_name("grafana") / "dashboards"

ELSEWHERE = {
    "consent_relay_client_list_usable": "a tool exports it",
    "consent_relay_access_tokens_refused_total": "no issuer of access tokens is configured",
    "consent_relay_secret_file_valid_until_timestamp_seconds": "there is no TLS",
}
"""Metrics that no process of this installation exports, and why."""


def asked_by_rules() -> set[str]:
    """Every metric with its labels that a rule asks for."""
    documents = [yaml.safe_load((SHIPPED / name).read_text("utf-8")) for name in RULES]
    rules = [rule for document in documents for group in document["groups"] for rule in group["rules"]]
    asked = {(name, labels) for rule in rules for name, labels in selectors(rule["expr"])}
    return {f"{name}{{{labels}}}" for name, labels in asked if name not in ELSEWHERE}


def asked_by_panels() -> set[str]:
    dashboards = [json.loads(file.read_text("utf-8")) for file in DASHBOARDS.glob("*.json")]
    queries = [query for each in dashboards for panel in each["panels"] for query in panel["targets"]]
    return {query["expr"].replace("$destination", ".+") for query in queries}


def test_rules_and_panels_find_what_they_ask_for_and_nothing_pages_on_a_healthy_system(
    system: Stack, tmp_path: Path
) -> None:
    numbers = count()

    def live_traffic() -> bool:
        """One withdrawal more, since rates are of what happens while Prometheus looks."""
        address = f"06 39 98 30 {next(numbers) % 100:02}"
        submit(system.endpoints, channel="sms", address=address, purpose="promotions", status="withdrawn")
        return True

    registers.load(system.endpoints)  # One that was never loaded pages.
    registers.export(system.endpoints)
    with running(tmp_path, system.endpoints.metrics) as prometheus:
        for asked in (asked_by_rules(), asked_by_panels()):
            with suppress(AssertionError):
                until(lambda asked=asked: live_traffic() and not empty(prometheus, asked), every=0.5)
            assert not empty(prometheus, asked)
        until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
        assert not [labels for labels in prometheus.firing() if labels["severity"] == "page"]


def empty(prometheus: Prometheus, expressions: Collection[str]) -> list[str]:
    """Those that find nothing."""
    return [each for each in sorted(expressions) if not prometheus.query(each)]
