"""Spans: nothing is loaded where they are off, a collector gets what ends, and no collector holds up the work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from consent_service import spans
from consent_service.errors import InvalidSettingsError
from consent_service.trace_context import begin
from tests.support.otlp_receiver import TRACES, receiver

WITHOUT_FASTAPI = (
    "consent_api.ingest.process",
    "consent_api.outbox_relay.process",
    "suppression.app",
    "propagator.app",
)
WITH_FASTAPI = ("consent_api.http.app", "suppression.gate.run")


@pytest.fixture(autouse=True)
def _off_afterwards() -> Iterator[None]:
    yield
    spans.close()


def loaded(modules: Sequence[str]) -> set[str]:
    """What of OpenTelemetry is loaded with them, by a fresh interpreter."""
    program = f"import {', '.join(modules)}, sys; print(*(n for n in sys.modules if n.startswith('opentelemetry')))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.long
def test_off_no_process_loads_opentelemetry() -> None:
    assert loaded(WITHOUT_FASTAPI) == set()
    # FastAPI loads the interfaces where they are installed. What makes and sends spans it does not.
    assert not {
        name for name in loaded(WITH_FASTAPI) if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))
    }


def test_off_nothing_is_made() -> None:
    assert not spans.is_on()
    assert spans.now() == 0
    spans.end("request", begin(sampled=True), parent=None, start=0)
    spans.end_child("commit", begin(sampled=True), start=0)


@pytest.mark.long
def test_a_collector_gets_spans_with_their_own_identifiers() -> None:
    parent = begin(sampled=True)
    span = parent.child()
    with receiver() as received:
        spans.start(f"{received.url}{TRACES}", "api", "api-1")
        start = spans.now()
        spans.end("POST /v1/decisions", span, parent=parent, start=start, attributes={"http.response.status_code": 201})
        spans.end_child("ledger commit", span, start=start)
        spans.end_child("ledger commit", begin(sampled=False), start=start)
        first = begin(sampled=True)
        spans.end("GET /v1/reviews", first, parent=None, start=start, error="status 500")
        spans.close()
        request, commit, alone = received.spans
    assert (request.service, request.name, request.trace_id) == ("api", "POST /v1/decisions", parent.trace_id)
    assert (request.span_id, request.parent_id) == (span.span_id, parent.span_id)
    assert request.attributes == {"http.response.status_code": "201"}
    assert (commit.trace_id, commit.parent_id) == (parent.trace_id, span.span_id)
    assert (alone.trace_id, alone.span_id, alone.parent_id) == (first.trace_id, first.span_id, "")
    assert all(start <= each.start <= each.end <= time.time_ns() for each in (request, commit, alone))


@pytest.mark.long
def test_a_collector_that_is_not_there_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with receiver() as received:
        pass
    spans.start(f"{received.url}{TRACES}", "api", "api-1")
    parent = begin(sampled=True)
    for _ in range(2 * spans.QUEUE_SPANS):
        spans.end_child("publish", parent, start=1)
    # Returns although nothing was sent: the wait for the last export is bounded.
    spans.close()
    assert not spans.is_on()


def test_without_the_package_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "consent_service.otlp", None)
    monkeypatch.delitem(sys.modules, "consent_service.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidSettingsError, match=r"consent-relay\[traces\]"):
        spans.start("http://127.0.0.1:4318/v1/traces", "api", "api-1")
    assert not spans.is_on()
