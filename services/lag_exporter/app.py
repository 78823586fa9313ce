"""Composition root of the lag process, and its loop."""

from __future__ import annotations

import logging
import signal
import threading
import time

from prometheus_client import CollectorRegistry

from consent_runtime import observability
from consent_runtime.observability import Health

from .kafka_broker import KafkaBroker
from .lag import BrokerAway, Lags
from .metrics import LagMetrics
from .settings import LagSettings

logger = logging.getLogger(__name__)

PART = "broker"
STALE_SECONDS = 15.0


class Watch:
    """Looks at the broker again and again. A broker that is away makes the process not ready, never end."""

    def __init__(self, lags: Lags, health: Health, registry: CollectorRegistry) -> None:
        self._lags = lags
        self._health = health
        self._seen_at = time.monotonic()
        self._metrics = LagMetrics.on(registry, age_seconds=lambda: time.monotonic() - self._seen_at)

    def turn(self) -> None:
        """One look."""
        self._health.beat("lag")
        try:
            self._metrics.show(self._lags.look(time.time()))
        except BrokerAway as away:
            self._metrics.looks.labels("failed").inc()
            age = time.monotonic() - self._seen_at
            logger.warning("no look at the broker: %s", away)
            if age > STALE_SECONDS:
                self._health.ready(PART, f"has not answered for {age:.0f} s")
        else:
            self._seen_at = time.monotonic()
            self._metrics.looks.labels("done").inc()
            self._health.ready(PART)


def run_lag(settings: LagSettings) -> int:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    registry = CollectorRegistry()
    health = Health(expected=[PART], stale_after=60.0, dead_after=120.0)
    topics = settings.topics
    broker = KafkaBroker(settings.kafka, group=topics.group("lag"))
    lags = Lags(
        broker=broker,
        prefix=topics.prefix,
        topics=frozenset(spec.name for spec in topics.specs(settings.partitions)),
    )
    watch = Watch(lags, health, registry)
    server = observability.serve(registry, health, settings.metrics_host, settings.metrics_port)
    try:
        while not stop.is_set():
            watch.turn()
            stop.wait(settings.lag_interval)
    finally:
        server.close()
        broker.close()
    return 0
