"""Writes the dashboards: `python deploy/grafana/generate.py`. A test holds the files to this program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("dashboards")
_WIDTH, _HEIGHT = 8, 7
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_DESTINATION = 'destination=~"$destination"'


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One expression, and what its lines are called ({{label}} of Grafana's)."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """``title``: the question that it answers. ``unit``: Grafana's. ``limit``: drawn as a line; above it is wrong."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    limit: float | None = None
    stat: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Dashboard:
    """``variables``: label names, each with the metric whose values it offers."""

    uid: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[tuple[str, str]] = ()


def _lines(title: str, description: str, unit: str, *queries: tuple[str, str], limit: float | None = None) -> Panel:
    asked = [Query(expr=expr, legend=legend) for expr, legend in queries]
    return Panel(title=title, description=description, unit=unit, queries=asked, limit=limit)


def _value(title: str, description: str, unit: str, expr: str, *, limit: float | None = None) -> Panel:
    return Panel(title=title, description=description, unit=unit, queries=[Query(expr=expr)], limit=limit, stat=True)


OVERVIEW = Dashboard(
    uid="consent-relay-overview",
    title="Consent Relay: overview",
    panels=[
        _value(
            "Is the promise kept?",
            "Share of the last hour's live revocations that the worst destination took within 5 s; while one has waited"
            " for longer, all that wait count as late. Promised: 99 %. No data: none was taken, and none is late.",
            "percentunit",
            "1 - max(destination:consent_relay_late_revocations:ratio_rate1h)",
        ),
        _value(
            "How old is the oldest choice that a tool does not know?",
            "The oldest live revocation that a destination has not acknowledged; 0 if there is none.",
            "s",
            'max(consent_relay_propagation_oldest_pending_revocation_seconds{class="live"})',
            limit=60,
        ),
        _value(
            "How old is the list?",
            "Live decisions accepted before that are on the list, in its oldest partition. Readers deny above 30 s.",
            "s",
            'max(consent_relay_list_resolved_age_seconds{lane="live"})',
            limit=30,
        ),
        _lines(
            "How long until a tool knows?",
            "From our acceptance of a live revocation to the tool's acknowledgement, half of them and 99 of 100.",
            "s",
            ('destination_class:consent_relay_propagation_latency_seconds:p50_5m{class="live"}', "{{destination}} p50"),
            ('destination_class:consent_relay_propagation_latency_seconds:p99_5m{class="live"}', "{{destination}} p99"),
            limit=5,
        ),
        _lines(
            "Who has not been informed?",
            "Age of the oldest pending live revocation, by destination.",
            "s",
            (
                'max by (destination) (consent_relay_propagation_oldest_pending_revocation_seconds{class="live"})',
                "{{destination}}",
            ),
            limit=60,
        ),
        _lines(
            "How much is still to be delivered?",
            "Pushes that destinations still have to take: live is what people chose now, bulk imports, fills, repairs.",
            "short",
            ("sum by (destination, class) (consent_relay_propagation_backlog)", "{{destination}} {{class}}"),
        ),
        _lines(
            "When will the backlog be gone?",
            "At the pace of the last five minutes; below zero: it grows.",
            "s",
            ("group:consent_relay_drain:seconds", "{{group}}"),
        ),
        _lines(
            "How much comes in?",
            "Decisions a second, by HTTP and by Kafka.",
            "ops",
            ("sum by (outcome) (rate(consent_relay_api_decisions_total[5m]))", "HTTP {{outcome}}"),
            ("sum by (outcome) (rate(consent_relay_ingest_records_total[5m]))", "Kafka {{outcome}}"),
        ),
        _lines(
            "How much goes out?",
            "Pushes a second that ended, by destination and outcome.",
            "ops",
            (
                "sum by (destination, outcome) (rate(consent_relay_propagation_pushes_total[5m]))",
                "{{destination}} {{outcome}}",
            ),
        ),
        _lines(
            "Which group is behind, in records?",
            "Offsets between what a group has committed and the end of its partitions.",
            "short",
            ("sum by (group) (consent_relay_consumer_lag_records)", "{{group}}"),
        ),
        _lines(
            "Which group is behind, in time?",
            "Age of the oldest record that a group has not committed. A second a second: it is stuck.",
            "s",
            ("max by (group) (consent_relay_consumer_lag_seconds)", "{{group}}"),
            limit=60,
        ),
        _lines(
            "What was set aside?",
            "Dead letters of the last hour. Each needs a person: it may be a withdrawal.",
            "short",
            ("sum by (service, reason) (increase(consent_relay_dead_letters_total[1h]))", "{{service}} {{reason}}"),
        ),
        _lines(
            "Which tool does not answer?",
            "1 while a destination counts as down, or takes nothing of us until a person acts.",
            "short",
            ("max by (destination) (consent_relay_propagation_breaker_open)", "{{destination}} down"),
            ("1 - min by (destination) (consent_relay_propagation_destination_verified)", "{{destination}} held"),
        ),
    ],
)

API = Dashboard(
    uid="consent-relay-api",
    title="Consent Relay: the API and the relay",
    panels=[
        _lines(
            "How long does an answer take?",
            "99 of 100 requests, by path. A decision is committed within it.",
            "s",
            (
                "histogram_quantile(0.99, sum by (route, le) (rate(consent_relay_api_request_seconds_bucket[5m])))",
                "{{route}}",
            ),
        ),
        _lines(
            "What is answered?",
            "Requests a second by status.",
            "reqps",
            ("sum by (status) (rate(consent_relay_api_request_seconds_count[5m]))", "{{status}}"),
        ),
        _lines(
            "What do people do by links?",
            "Uses of one-click links and of the preference centre a second.",
            "ops",
            ("sum by (kind, outcome) (rate(consent_relay_api_link_uses_total[5m]))", "{{kind}} {{outcome}}"),
        ),
        _lines(
            "What waits to be published?",
            "Rows of the outbox, by lane.",
            "short",
            ("max by (lane) (consent_relay_api_outbox_pending)", "{{lane}}"),
        ),
        _lines(
            "How long does it wait?",
            "Age of the oldest row of the outbox, by lane.",
            "s",
            ("max by (lane) (consent_relay_api_outbox_oldest_age_seconds)", "{{lane}}"),
            limit=5,
        ),
        _lines(
            "How old are the resolved timestamps?",
            "Every decision accepted earlier is in Kafka, by lane.",
            "s",
            ("max by (lane) (consent_relay_api_resolved_age_seconds)", "{{lane}}"),
        ),
        _lines(
            "Are the lists compared with the ledger?",
            "Share of the present pass; a pass a day.",
            "percentunit",
            ("max(consent_relay_scrub_coverage_ratio)", "compared"),
        ),
        _lines(
            "How long may each register of oppositions still be used?",
            "Until it is older than it may be; below zero: load a newer one. None: it has ended, or none is declared.",
            "s",
            (
                "min by (register) (consent_relay_api_register_stale_at_timestamp_seconds < Inf) - time()",
                "{{register}}",
            ),
        ),
        _lines(
            "Are the clocks right?",
            "How far each process's clock is ahead of the database's or the brokers'.",
            "s",
            ("consent_relay_api_clock_offset_seconds", "api"),
            ("consent_relay_outbox_clock_offset_seconds", "relay"),
            ("consent_relay_ingest_clock_offset_seconds", "ingest"),
        ),
    ],
)

INGEST = Dashboard(
    uid="consent-relay-ingest",
    title="Consent Relay: ingest",
    panels=[
        _lines(
            "What becomes of submissions by Kafka?",
            "Records a second, by topic and outcome.",
            "ops",
            ("sum by (topic, outcome) (rate(consent_relay_ingest_records_total[5m]))", "{{topic}} {{outcome}}"),
        ),
        _lines(
            "How long does a batch take?",
            "99 of 100, from the fetch to the commit.",
            "s",
            (
                "histogram_quantile(0.99, sum by (topic, le) (rate(consent_relay_ingest_batch_seconds_bucket[5m])))",
                "{{topic}}",
            ),
        ),
        _lines(
            "What does it wait for?",
            "Batches put back, by cause.",
            "ops",
            ("sum by (cause) (rate(consent_relay_ingest_retries_total[5m]))", "{{cause}}"),
        ),
    ],
)

SUPPRESSION = Dashboard(
    uid="consent-relay-suppression",
    title="Consent Relay: the merge and the gate",
    panels=[
        _lines(
            "How much is merged?",
            "Changes a second, by lane and outcome.",
            "ops",
            ("sum by (lane, outcome) (rate(consent_relay_suppression_records_total[5m]))", "{{lane}} {{outcome}}"),
        ),
        _lines(
            "How long does a transaction take?",
            "99 of 100, from its first record to the broker's commit.",
            "s",
            (
                "histogram_quantile(0.99, sum by (le)"
                " (rate(consent_relay_suppression_transaction_seconds_bucket[5m])))",
                "p99",
            ),
        ),
        _lines(
            "Which partitions are not merged?",
            "1: restoring, or waiting for the broker.",
            "short",
            ("1 - max by (partition) (consent_relay_suppression_partition_ready)", "{{partition}}"),
        ),
        _lines(
            "What does the gate answer?",
            "Addresses a second, by reason.",
            "ops",
            ("sum by (channel, reason) (rate(consent_relay_gate_answers_total[5m]))", "{{channel}} {{reason}}"),
        ),
        _lines(
            "How old is what the gate answers from?",
            "By channel, of its oldest partition.",
            "s",
            ("max by (channel) (consent_relay_gate_view_age_seconds)", "{{channel}}"),
            limit=30,
        ),
        _lines(
            "How long does a check take?",
            "99 of 100, by size of the request.",
            "s",
            (
                "histogram_quantile(0.99, sum by (size, le) (rate(consent_relay_gate_check_seconds_bucket[5m])))",
                "{{size}}",
            ),
        ),
    ],
)

DESTINATION = Dashboard(
    uid="consent-relay-destination",
    title="Consent Relay: one destination",
    variables=[("destination", "consent_relay_propagation_breaker_open")],
    panels=[
        _lines(
            "How long until it knows?",
            "From our acceptance to its acknowledgement, by class: live has the promise of 5 s, bulk has none.",
            "s",
            (f"destination_class:consent_relay_propagation_latency_seconds:p99_5m{{{_DESTINATION}}}", "{{class}} p99"),
            (f"destination_class:consent_relay_propagation_latency_seconds:p50_5m{{{_DESTINATION}}}", "{{class}} p50"),
            limit=5,
        ),
        _lines(
            "What waits?",
            "Pushes by class and kind.",
            "short",
            (f"sum by (class, kind) (consent_relay_propagation_backlog{{{_DESTINATION}}})", "{{class}} {{kind}}"),
        ),
        _lines(
            "For how long?",
            "Age of the oldest pending revocation, by class.",
            "s",
            (
                f"max by (class) (consent_relay_propagation_oldest_pending_revocation_seconds{{{_DESTINATION}}})",
                "{{class}}",
            ),
        ),
        _lines(
            "Up to when has it been informed?",
            "How long ago: every live decision recorded before is delivered.",
            "s",
            (f"destination:consent_relay_delivered_until_age:seconds{{{_DESTINATION}}}", "delivered until"),
        ),
        _lines(
            "What does it answer?",
            "Calls a second, by result.",
            "ops",
            (f"sum by (result) (rate(consent_relay_propagation_calls_total{{{_DESTINATION}}}[5m]))", "{{result}}"),
        ),
        _lines(
            "How much of its limit is used?",
            "Requests a second that count against the account's limit, and the seconds that it asked us to wait.",
            "reqps",
            (f"sum(rate(consent_relay_propagation_requests_total{{{_DESTINATION}}}[5m]))", "requests"),
            (f"sum(rate(consent_relay_propagation_throttled_seconds_total{{{_DESTINATION}}}[5m]))", "throttled"),
        ),
        _lines(
            "What will it never take?",
            "Revocations that ended impossible, targets that are held, targets that stop nothing.",
            "short",
            (f"max(consent_relay_propagation_impossible_revocations{{{_DESTINATION}}})", "impossible"),
            (f"max(consent_relay_propagation_quarantined_targets{{{_DESTINATION}}})", "held targets"),
            (f"max(consent_relay_propagation_ineffective_targets{{{_DESTINATION}}})", "stop nothing"),
        ),
    ],
)

ALL = (OVERVIEW, API, INGEST, SUPPRESSION, DESTINATION)


def rendered(dashboard: Dashboard) -> str:
    """The file's text, as Grafana imports it."""
    return json.dumps(_as_grafana(dashboard), indent=2, ensure_ascii=False) + "\n"


def _as_grafana(dashboard: Dashboard) -> dict[str, Any]:
    variables = [_variable(label, metric) for label, metric in dashboard.variables]
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["consent-relay"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }


def _variable(label: str, metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, {label})"
    return {
        "name": label,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "A"},
        "definition": query,
        "refresh": 2,
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "blue", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "orange", "value": panel.limit})
    custom = (
        {} if panel.stat else {"custom": {"thresholdsStyle": {"mode": "line" if panel.limit is not None else "off"}}}
    )
    return {
        "id": number + 1,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": {"x": number % 3 * _WIDTH, "y": number // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, **custom},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": each.expr, "legendFormat": each.legend}
            for at, each in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    for each in ALL:
        (FOLDER / f"{each.uid.removeprefix('consent-relay-')}.json").write_text(rendered(each), "utf-8")
