"""All processes can run on one machine without a setting: each has a metrics port of its own. One that cannot listen
ends with the setting to correct."""

import socket

import pytest
from prometheus_client import CollectorRegistry

from consent_api.settings import ApiSettings, IngestSettings, OutboxRelaySettings
from consent_service import startup
from consent_service.health import Health
from consent_service.settings import ProcessSettings
from lag_exporter.settings import LagSettings
from propagator.settings import PropagatorSettings
from suppression.gate.settings import GateSettings
from suppression.settings import SuppressionSettings

PROCESSES = (
    ApiSettings,
    OutboxRelaySettings,
    IngestSettings,
    SuppressionSettings,
    GateSettings,
    PropagatorSettings,
    LagSettings,
)


def test_no_two_processes_serve_their_metrics_on_the_same_port() -> None:
    ports = [process.model_fields["metrics_port"].default for process in PROCESSES]
    assert len(set(ports)) == len(PROCESSES)


def test_an_address_that_is_taken_or_unknown_ends_the_start_with_its_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("CONSENT_RELAY_METRICS_PORT", str(port))
        with pytest.raises(SystemExit) as pages:
            startup.serve_pages(ProcessSettings(), CollectorRegistry(), Health())
        with pytest.raises(SystemExit) as api:
            startup.require_address("CONSENT_RELAY_API", "127.0.0.1", port)
    with pytest.raises(SystemExit) as nowhere:
        startup.require_address("CONSENT_RELAY_GATE", "gate.invalid", 8082)
    assert [each.value.code for each in (pages, api, nowhere)] == [2, 2, 2]
    lines = capsys.readouterr().err.splitlines()
    at = f"127.0.0.1:{port} cannot be listened at (Address already in use)"
    assert lines[0].startswith(f"CONSENT_RELAY_METRICS_HOST, CONSENT_RELAY_METRICS_PORT: {at}")
    assert lines[1].startswith(f"CONSENT_RELAY_API_HOST, CONSENT_RELAY_API_PORT: {at}")
    assert lines[2].startswith("CONSENT_RELAY_GATE_HOST, CONSENT_RELAY_GATE_PORT: gate.invalid:8082")
    startup.require_address("CONSENT_RELAY_API", "127.0.0.1", port)
    startup.require_address("CONSENT_RELAY_API", "0.0.0.0", 0)
