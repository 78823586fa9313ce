"""The relay's composition root: builds its clients from the settings and runs it until a signal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry
from pydantic import Field
from sqlalchemy import event

from consent_api.ledger.database import connect
from consent_api.runtime import Loop, over_right_topics, run_until_signal
from consent_api.settings import DatabaseSettings
from consent_runtime import kafka, logs, observability
from consent_runtime.progress import STALLED_SECONDS, Progress

from .loop import Relay
from .metrics import RelayMetrics
from .monitor import Watch
from .outbox_table import Outbox
from .poll_interval import Pace
from .publisher import PRODUCER, Publisher


class OutboxRelaySettings(DatabaseSettings):
    """`consent-relay relay`."""

    service: ClassVar[str] = "consent-api-relay"

    relay_batch: int = Field(2_000, ge=1, le=20_000, description="outbox rows published in one transaction, at most")
    relay_poll_shortest: float = Field(0.003, gt=0, le=1, description="seconds between looks at a busy outbox")
    relay_poll_longest: float = Field(0.020, gt=0, le=1, description="seconds between looks at an idle outbox")
    metrics_port: int = Field(9466, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0: any")


def run(settings: OutboxRelaySettings) -> int:
    """Until SIGTERM; the exit code. Starts, and waits, also while the broker or the database is away."""
    logs.configure(settings.log_level, settings.service)
    registry = CollectorRegistry()
    health = observability.Health(expected=("relay",))
    server = observability.serve(registry, health, settings.metrics_host, settings.metrics_port)
    try:
        with composed(settings, registry=registry, health=health) as loops:
            return run_until_signal(loops)
    finally:
        server.close()


@contextmanager
def composed(
    settings: OutboxRelaySettings,
    *,
    registry: CollectorRegistry,
    health: observability.Health,
    stalled_after: float = STALLED_SECONDS,
) -> Iterator[dict[str, Loop]]:
    """The loops of one relay, ready to run."""
    progress = Progress(bound=stalled_after, clock=time.monotonic)
    metrics = RelayMetrics.on(registry)
    engine = connect(settings.database, pool_size=1, application="consent-relay relay")
    event.listen(engine, "connect", _without_waiting_for_disk)
    watched = connect(settings.database, pool_size=1, application="consent-relay outbox watch")
    relay = Relay(
        outbox=Outbox(engine),
        publisher=Publisher(lambda: kafka.producer(settings.kafka, **PRODUCER)),
        metrics=metrics,
        health=health,
        progress=progress,
        pace=Pace(shortest=settings.relay_poll_shortest, longest=settings.relay_poll_longest),
        batch=settings.relay_batch,
    )
    watch = Watch(
        outbox=Outbox(watched),
        metrics=metrics,
        health=health,
        progress=progress,
        stalled_after=stalled_after,
        set_aside=lambda: relay.set_aside,
    )
    try:
        changes = [settings.topics.changes]
        yield {
            "relay": over_right_topics(relay.run, settings, changes, health=health, part="relay"),
            "outbox-watch": watch.run,
        }
    finally:
        engine.dispose()
        watched.dispose()


def _without_waiting_for_disk(connection: Any, _: object) -> None:
    """The relay only deletes. A deletion that is lost in a crash of the server is a record published twice,
    which changes nothing, so no commit here has to wait for the disk: half of the time of a small batch.
    """
    connection.execute("SET synchronous_commit = off")
    connection.commit()
