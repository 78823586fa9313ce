"""All processes can run on one machine without a setting: each has a metrics port of its own."""

from consent_api.settings import ApiSettings, IngestSettings, OutboxRelaySettings
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
