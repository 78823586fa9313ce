"""The shipped rules on a real Prometheus that scrapes the running system. # R39, R40"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from local_stack.ports import free_port
from local_stack.stack import Stack
from tests.integration.system.test_system import submit
from tests.support.debian import unpacked
from tests.support.prometheus import selectors
from tests.support.waiting import until

SHIPPED = Path(__file__).parents[3] / "deploy" / "prometheus"
DASHBOARDS = SHIPPED.with_name("grafana") / "dashboards"
RULES = ("rules.yml", "alerts.yml")

ELSEWHERE = {
    "consent_relay_client_list_usable": "a tool exports it",
    "consent_relay_access_tokens_refused_total": "no issuer of access tokens is configured",
    "consent_relay_secret_file_valid_until_timestamp_seconds": "there is no TLS",
}
"""Metrics that no process of this installation exports, and why."""


class Prometheus:
    """A running one, at ``url``."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30.0)

    def close(self) -> None:
        self._client.close()

    def query(self, expression: str) -> list[Any]:
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def answers(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running(directory: Path, stack: Stack) -> Iterator[Prometheus]:
    program = unpacked("prometheus", package="prometheus", directory=directory)
    targets = [
        {"targets": [url.removeprefix("http://")], "labels": {"process": name}}
        for name, url in stack.endpoints.metrics.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(SHIPPED / name) for name in RULES],
        "scrape_configs": [{"job_name": "consent-relay", "static_configs": targets}],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    listen = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={listen}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with closing(Prometheus(f"http://{listen}")) as prometheus:
            until(prometheus.answers)
            yield prometheus
    finally:
        process.terminate()
        process.wait(timeout=60)


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

    with running(tmp_path, system) as prometheus:
        for asked in (asked_by_rules(), asked_by_panels()):
            with suppress(AssertionError):
                until(lambda asked=asked: live_traffic() and not empty(prometheus, asked), every=0.5)
            assert not empty(prometheus, asked)
        until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
        firing = [a["labels"] for rule in prometheus.rules() for a in rule.get("alerts", ()) if a["state"] == "firing"]
        assert not [labels for labels in firing if labels["severity"] == "page"]


def empty(prometheus: Prometheus, expressions: Collection[str]) -> list[str]:
    """Those that find nothing."""
    return [each for each in sorted(expressions) if not prometheus.query(each)]
