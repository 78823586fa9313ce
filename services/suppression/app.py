"""Composition root of the merge stage: every client is built here."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from consent_kafka import clients
from consent_kafka.dead_letters import AsyncDeadLetterProducer, DeadLetterMetrics
from consent_kafka.registry import connect_codec
from consent_kafka.transport import TransportMetrics, build, run
from consent_service import startup
from consent_service.clock_check import ClockCheck
from consent_service.health import Health
from consent_state import Compactor, StateStoreMetrics
from suppression.merge.seals import seal_rank
from suppression.merge_stream import GROUP, MergePartitionFactory
from suppression.metrics import MergeMetrics
from suppression.settings import SuppressionSettings


def run_suppression(settings: SuppressionSettings) -> int:
    """Run the merge stage until a signal (0) or a failure (not 0)."""
    topics = settings.topics
    keyring = startup.keyring_file(settings)
    registry = CollectorRegistry()
    health = Health(expected=[GROUP])
    server = startup.serve_pages(settings, registry, health)
    watch = startup.watch_secrets(settings, registry, health, keyring)
    try:
        codec = connect_codec(settings)
        read = [topics.changes, topics.changes_bulk, *map(topics.suppression, settings.channels)]
        dead_letter_metrics = DeadLetterMetrics.on(registry, service=settings.service, topics=read)

        def open_dead_letters() -> AsyncDeadLetterProducer:
            return AsyncDeadLetterProducer(
                producer=clients.AsyncProducer(settings.kafka, settings.kafka_client),
                codec=codec,
                keyring=lambda: keyring.value,
                topics=topics,
                service=settings.service,
                metrics=dead_letter_metrics,
            )

        metrics = MergeMetrics.on(registry, channels=settings.channels)
        StateStoreMetrics.on(registry, settings.state_dir)
        clock_check = ClockCheck()
        health.watch("clock", clock_check.readiness)
        metrics.clock_offset.set_function(clock_check.offset_seconds)
        compactor = Compactor()
        stage = MergePartitionFactory(
            topics=topics,
            partitions=settings.partitions,
            state_dir=settings.state_dir / settings.service,
            instance_id=settings.instance_id,
            transaction_timeout=settings.suppression_transaction_timeout,
            codec=codec,
            open_dead_letters=open_dead_letters,
            metrics=metrics,
            health=health,
            bootstrap=settings.kafka,
            client_config=settings.kafka_client,
            clock_check=clock_check,
            seal_rank=seal_rank(lambda: keyring.value),
            compactor=compactor,
        )
        app = build(
            stage.stream(),
            bootstrap=settings.kafka,
            client_config=settings.kafka_client,
            instance_id=settings.instance_id,
            health=health,
            metrics=TransportMetrics.on(registry),
            session_timeout=settings.suppression_session_timeout,
        )
        stage.fail = app.fail
        compactor.start()
        try:
            return run([app])
        finally:
            stage.close()
            compactor.close()
    finally:
        watch.close()
        server.close()
