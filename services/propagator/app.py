"""Composition root: every client of the propagator is built here."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from consent_runtime import kafka, observability, starting
from consent_runtime.dead_letters import DeadLetterMetrics, DeadLetters
from consent_runtime.keyring import Keyring
from consent_runtime.observability import Health
from consent_runtime.progress import STALLED_SECONDS
from consent_runtime.transport import ChunkApp, TransportMetrics, build, run
from propagator.config import Destination
from propagator.feed import CLOSE_SECONDS
from propagator.metrics import Metrics
from propagator.settings import PropagatorSettings
from propagator.station import Clients, Station


def run_propagator(settings: PropagatorSettings, destinations: Sequence[Destination], keyring: Keyring) -> int:
    """Push to these destinations until a signal (0) or a failure (not 0): one Faust app each, in one loop."""
    registry = CollectorRegistry()
    health = Health()
    topics = settings.topics
    codec = starting.codec(settings)
    producer = kafka.AsyncProducer(settings.kafka)
    clients = Clients(
        bootstrap=settings.kafka,
        topics=topics,
        codec=codec,
        keyring=keyring,
        producer=producer,
        dead_letters=DeadLetters(
            producer=producer,
            codec=codec,
            keyring=keyring,
            topics=topics,
            service=settings.service,
            metrics=DeadLetterMetrics.on(registry),
        ),
        metrics=Metrics.on(registry),
        health=health,
    )
    transport = TransportMetrics.on(registry)
    apps = [_app(Station(destination, clients), settings, health, transport) for destination in destinations]
    server = observability.serve(registry, health, settings.metrics_host, settings.metrics_port)
    try:
        return run(apps)
    finally:
        producer.close()
        server.close()


def _app(station: Station, settings: PropagatorSettings, health: Health, metrics: TransportMetrics) -> ChunkApp:
    app = build(
        station.stream(),
        bootstrap=settings.kafka,
        instance_id=settings.instance_id,
        health=health,
        metrics=metrics,
        session_timeout=settings.propagator_session_timeout,
        # The transport gives a handler four times its patience to close.
        patience=CLOSE_SECONDS / 4 + 0.5,
        # A call that is not answered in time has not hung yet.
        stalled_after=STALLED_SECONDS + station.destination.account.timeout_seconds,
    )
    station.fail = app.fail
    return app
