"""Composition root of the lag process, and its loop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from consent_kafka import clients, provisioning
from consent_kafka.errors import ProvisionError
from consent_kafka.registry import lazy_codec
from consent_service import startup
from consent_service.clock import elapsed_micros, now_micros
from consent_service.clock_check import ClockCheck
from consent_service.health import Health
from lag_exporter.errors import BrokerUnavailableError
from lag_exporter.kafka_broker import KafkaBroker
from lag_exporter.lag import LagReader, OpenTransaction
from lag_exporter.metrics import LagMetrics
from lag_exporter.resolved import ResolvedReader
from lag_exporter.settings import LagSettings

log = logging.getLogger(__name__)

PART = "broker"
STALE_SECONDS = 15.0
_LOOP = "lag"
_SLACK_SECONDS = 20.0
"""Beyond the interval, until the first wait for the broker."""


class LagMonitor:
    """Reads consumer lag at an interval. While the broker is unavailable the process is not ready, and goes on."""

    def __init__(self, lags: LagReader, resolved: ResolvedReader, health: Health, registry: CollectorRegistry) -> None:
        self._lags = lags
        self._resolved = resolved
        self._health = health
        self._seen_at = time.monotonic()
        self._reported: set[tuple[str, int, int]] = set()
        self._metrics = LagMetrics.on(registry, age_seconds=lambda: time.monotonic() - self._seen_at)

    def poll(self) -> None:
        """One snapshot."""
        self._health.heartbeat(_LOOP)
        try:
            asked_at = elapsed_micros()
            snapshot = self._lags.read(time.time())
            self._resolved.expect_from(asked_at, snapshot.ends)
            self._health.heartbeat(_LOOP)
            self._resolved.poll()
        except BrokerUnavailableError as error:
            self._metrics.looks.labels("failed").inc()
            age = time.monotonic() - self._seen_at
            log.warning("could not read consumer lag", extra={"error": str(error)})
            if age > STALE_SECONDS:
                self._metrics.withdraw()
                self._health.set_ready(PART, f"has not answered for {age:.0f} s")
        else:
            self._seen_at = time.monotonic()
            self._metrics.show(snapshot)
            self._metrics.show_resolved(self._resolved.partitions, now_micros())
            self._metrics.looks.labels("done").inc()
            self._health.set_ready(PART)
            self._report(snapshot.open_transactions)

    def _report(self, found: Sequence[OpenTransaction]) -> None:
        """Each one once, and once more when it has ended."""
        now = {(each.topic, each.partition, each.offset): each for each in found}
        for each in [now[at] for at in now.keys() - self._reported]:
            what = "an open transaction hides records: find and abort it (docs/runbooks.md)"
            log.error(
                what,
                extra={
                    "topic": each.topic,
                    "partition": each.partition,
                    "offset": each.offset,
                    "seconds": round(each.seconds),
                },
            )
        for topic, partition, offset in self._reported - now.keys():
            where = {"topic": topic, "partition": partition, "offset": offset}
            log.info("an open transaction has ended", extra=where)
        self._reported = set(now)


def run_lag(settings: LagSettings) -> int:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    registry = CollectorRegistry()
    health = Health(expected=[PART], stale_after=60.0)
    topics = settings.topics
    broker = KafkaBroker(
        settings.kafka, settings.kafka_client, group=topics.group("lag"), beat=lambda: health.heartbeat(_LOOP)
    )
    lags = LagReader(
        broker=broker,
        prefix=topics.prefix,
        topics=frozenset(spec.name for spec in topics.specs(settings.partitions)),
    )
    clock_check = ClockCheck()
    health.watch("clock", clock_check.readiness)
    resolved = ResolvedReader(
        consumer=clients.consumer(
            settings.kafka, topics.group("lag"), settings.kafka_client, enable_partition_eof=True
        ),
        codec=lazy_codec(settings),
        topic=topics.resolved,
        clock_check=clock_check,
    )
    watch = LagMonitor(lags, resolved, health, registry)
    certificates = startup.watch_secrets(settings, registry, health)
    server = startup.serve_pages(settings, registry, health)
    access_known = False
    try:
        while not stop.is_set():
            access_known = access_known or _has_access(settings)
            watch.poll()
            health.heartbeat(_LOOP, within=settings.lag_interval + _SLACK_SECONDS)
            stop.wait(settings.lag_interval)
    finally:
        server.close()
        certificates.close()
        resolved.close()
        broker.close()
    return 0


def _has_access(settings: LagSettings) -> bool:
    """False while the broker does not answer. Raises LinkRefusedError."""
    try:
        provisioning.require_access(settings, "lag")
    except ProvisionError:
        return False
    return True
