"""docs/metrics.md says what the processes serve, and the names keep the conventions (R39)."""

from pathlib import Path

import pytest

from tests.contract.metrics_page import PROCESSES, declared, lines

UNITS = ("_seconds", "_records", "_bytes", "_total", "_ratio")
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_the_one_the_code_gives() -> None:
    assert PAGE.read_text("utf-8").splitlines() == list(lines()), (
        "run: python -m tests.contract.metrics_page > docs/metrics.md"
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_names_labels_and_helps_keep_the_conventions(process: str) -> None:
    for name, kind, labels, text in declared(process):
        assert name.startswith("consent_relay_")
        assert len(text.split()) >= 5, f"{name} needs a help text that somebody understands at 3 a.m."
        assert not {"subject", "subject_ref", "address", "address_key", "tenant"} & set(labels), name
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
