"""docs/metrics.md, written from the metrics themselves: ``python -m tests.contract.metrics_page > docs/metrics.md``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase

from consent_api.http.metrics import ApiMetrics, LaneMetrics
from consent_api.inbound.metrics import InboundMetrics
from consent_api.ingest.metrics import IngestMetrics
from consent_api.operations.verify.metrics import ScrubMetrics
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.registers.metrics import RegisterMetrics as RegisterAgeMetrics
from consent_api.rights.metrics import RightsMetrics
from consent_client.metrics import ListMetrics
from consent_client.registers import Registers
from consent_http.access_tokens import AccessTokenMetrics
from consent_http.rate_limits import RateMetrics
from consent_kafka.dead_letters import DeadLetterMetrics
from consent_kafka.transport import TransportMetrics
from consent_service.health import Health
from consent_service.secret_files import SecretMetrics
from consent_service.wrong_entries import WrongEntries
from consent_state import StateStoreMetrics
from lag_exporter.metrics import LagMetrics
from propagator.metrics import Metrics as PropagatorMetrics
from propagator.state.metrics import StateMetrics
from status_page.metrics import StatusMetrics
from suppression.gate.metrics import GateMetrics, RegisterMetrics, ViewMetrics
from suppression.metrics import MergeMetrics

INTRO = """\
# Metrics

Every service serves `/metrics` and its [health pages](running.md#health) on its metrics port. Names follow the
Prometheus conventions: prefix `consent_relay_`, base units, bounded labels, never a subject or an address. Process
metrics (`process_*`, `python_*`) and `consent_relay_build_info` (label `version`) come on top. A counter whose labels
are known begins at 0, so that `increase` sees its first event.

Drain time, the seconds until a group has caught up at its present pace, is a question to Prometheus, as it needs a rate
(below zero: at this pace it never will):
`sum by (group) (consent_relay_consumer_lag_records) / -sum by (group) (deriv(consent_relay_consumer_lag_records[5m]))`

This page is written from the code, and a test holds it to that:
`python -m tests.contract.metrics_page > docs/metrics.md`."""

PROCESSES: dict[str, list[Callable[[CollectorRegistry], object]]] = {
    "api": [
        lambda registry: ApiMetrics.on(registry, channels=("sms", "email", "voice")),
        LaneMetrics.on,
        RightsMetrics.on,
        RegisterAgeMetrics.on,
        lambda registry: InboundMetrics.on(registry, sources=["source"]),
    ],
    "relay": [lambda registry: RelayMetrics.on(registry, topics=["topic"]), ScrubMetrics.on],
    "ingest": [lambda registry: IngestMetrics.on(registry, topics=["topic"])],
    "suppression": [lambda registry: MergeMetrics.on(registry, channels=["sms"])],
    "gate": [
        lambda registry: GateMetrics.on(registry, channels=["sms"]),
        lambda registry: registry.register(ViewMetrics([])),
        lambda registry: registry.register(RegisterMetrics(Registers)),
    ],
    "propagator": [
        lambda registry: PropagatorMetrics.on(registry, channels={"destination": "sms"}),
        lambda registry: StateMetrics.on(registry, propagator="default", destinations=["destination"]),
    ],
    "lag": [lambda registry: LagMetrics.on(registry, age_seconds=lambda: 0.0)],
    "status": [lambda registry: StatusMetrics.on(registry, processes=["api"])],
    "suppression and propagator (the transport)": [
        lambda registry: TransportMetrics.on(registry).start_at_zero("stream", ["topic"])
    ],
    "suppression and propagator (local state)": [lambda registry: StateStoreMetrics.on(registry, Path("state"))],
    "api and gate (quotas)": [lambda registry: RateMetrics.on(registry, tenants=["tenant"], budgets=["budget"])],
    "api and gate (access tokens)": [AccessTokenMetrics.on],
    "a tool with the client library": [lambda registry: registry.register(ListMetrics({}))],
    "every process with secrets in files": [
        lambda registry: SecretMetrics.on(registry).reload_errors.labels("secret"),
    ],
    "api, ingest and propagator (files with an entry a tenant)": [
        lambda registry: WrongEntries(registry, Health(), settings=["setting"]),
    ],
    "ingest, suppression and propagator (dead letters)": [
        lambda registry: DeadLetterMetrics.on(registry, service="service", topics=["topic"])
    ],
}


def declared(process: str) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """(name as Prometheus shows it, type, labels, help) of every metric of a process, by name."""
    registry = CollectorRegistry()
    for declare in PROCESSES[process]:
        declare(registry)
    found: list[tuple[str, str, tuple[str, ...], str]] = []
    for collector in registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            suffix = "_total" if collector._type == "counter" else ""
            labels = tuple(collector._labelnames)
            found.append((collector._name + suffix, collector._type, labels, collector._documentation))
        else:
            families = [each for each in collector.collect() if isinstance(each, GaugeMetricFamily)]
            found += [(each.name, each.type, tuple(each._labelnames), each.documentation) for each in families]
    yield from sorted(found)


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield from INTRO.splitlines()
    for process in PROCESSES:
        yield ""
        yield f"## {process}"
        yield ""
        yield "| metric | type | labels | what it shows |"
        yield "|---|---|---|---|"
        for name, kind, labels, text in declared(process):
            cells = [f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels) or "-", " ".join(text.split())]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())
