"""docs/metrics.md says what the processes serve, and the names keep the conventions (R39)."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram

from tests.contract.metrics_page import PROCESSES, declared, lines

UNITS = ("_seconds", "_records", "_bytes", "_total", "_ratio")
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_the_one_the_code_gives() -> None:
    assert PAGE.read_text("utf-8").splitlines() == list(lines()), (
        "run: python -m tests.contract.metrics_page > docs/metrics.md"
    )


OF_TENANTS = {"consent_relay_rate_units_total", "consent_relay_rate_limited_total"}
"""Quotas are a tenant's, and tenants as many as the keyring has."""


@pytest.mark.parametrize("process", PROCESSES)
def test_names_labels_and_helps_keep_the_conventions(process: str) -> None:
    for name, kind, labels, text in declared(process):
        assert name.startswith("consent_relay_")
        assert len(text.split()) >= 5, f"{name} needs a help text that an operator understands at 3 a.m."
        assert not {"subject", "subject_ref", "address", "address_key"} & set(labels), name
        assert "tenant" not in labels or name in OF_TENANTS, name
        assert not name.endswith(("_ms", "_milliseconds", "_minutes")), name
        if kind == "histogram":
            assert name.endswith(UNITS), f"{name} names no base unit"


def test_what_the_requirements_name_is_there() -> None:
    everything = {name for process in PROCESSES for name, *_ in declared(process)}
    assert {
        "consent_relay_consumer_lag_records",
        "consent_relay_consumer_lag_seconds",
        "consent_relay_outbox_pending",
        "consent_relay_outbox_oldest_age_seconds",
        "consent_relay_propagation_latency_seconds",
        "consent_relay_propagation_oldest_pending_revocation_seconds",
        "consent_relay_propagation_breaker_open",
    } <= everything


LABELS_OF_EVENTS = {
    "consent_relay_api_request_seconds": "the status of an answer",
    "consent_relay_api_dropped_fields": "the field that a caller wrote wrongly",
    "consent_relay_ingest_dropped_fields": "the field that a producer wrote wrongly",
    "consent_relay_ingest_retries": "the exception",
    "consent_relay_ingest_batch_seconds": "nothing to alert on",
    "consent_relay_outbox_batch_seconds": "nothing to alert on",
    "consent_relay_gate_refused": "the status of an answer",
    "consent_relay_gate_check_seconds": "nothing to alert on",
}
"""Counters without a series before the first event, by what their label is."""


@pytest.mark.parametrize("process", PROCESSES)
def test_a_counter_begins_at_zero(process: str) -> None:
    """Prometheus' `increase` cannot see the first event of a series that begins with it."""
    registry = CollectorRegistry()
    for declare in PROCESSES[process]:
        declare(registry)
    for collector in registry._collector_to_names:
        if isinstance(collector, Counter | Histogram) and collector._name not in LABELS_OF_EVENTS:
            [family] = collector.collect()
            assert family.samples, collector._name
            assert all(sample.value == 0 for sample in family.samples if not sample.name.endswith("_created"))
