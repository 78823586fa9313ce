"""The composition root of `consent-relay ingest`: two loops, one for submissions and one for receipts, and a watch.

They share a process because they share all they depend on, and neither fills a core; each has a thread, a consumer
and a group of its own, so that one that waits or lags does not hold up the other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from prometheus_client import CollectorRegistry
from pydantic import Field

from consent_api.clock import ClockWatch
from consent_api.errors import LedgerUnavailable, Misconfigured
from consent_api.ledger.database import connect
from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.outbox import Outbox
from consent_api.ledger.record import Desk
from consent_api.runtime import Loop, over_right_topics, run_until_signal
from consent_api.settings import DatabaseSettings
from consent_api.validate import Rules
from consent_contracts.errors import RegistryUnavailable
from consent_runtime import kafka, logs, observability, starting
from consent_runtime.dead_letters import DeadLetterMetrics, Letters
from consent_runtime.keyring import Keyring

from .consumer_loop import CONSUMER, ConsumerLoop, Handle
from .dead_letter_writer import PRODUCER, SERVICE, DeadLettersNotWrittenError, DeadLetterWriter
from .metrics import IngestMetrics
from .receipts import Receipts
from .submissions import Submissions

NOT_NOW = (LedgerUnavailable, RegistryUnavailable, DeadLettersNotWrittenError)
# Nobody acts on a receipt within a quarter of a second: one transaction takes all that come meanwhile.
RECEIPTS_MAY_WAIT = {"fetch_wait_max_ms": 250, "fetch_min_bytes": 65_536}


class IngestSettings(DatabaseSettings):
    """`consent-relay ingest`."""

    service: ClassVar[str] = "consent-api-ingest"

    ingest_batch: int = Field(1_000, ge=1, le=10_000, description="records recorded in one transaction, at most")
    ingest_tenant: str | None = Field(
        None, description="tenant of submissions that name none; unset: the keyring's, if it has only one"
    )
    metrics_port: int = Field(9467, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0: any")


def run(settings: IngestSettings) -> int:
    """Until SIGTERM; the exit code. Misconfigured when the default tenant has no keys."""
    logs.configure(settings.log_level, settings.service)
    registry = CollectorRegistry()
    health = observability.Health(expected=("inbound", "receipts"))
    server = observability.serve(registry, health, settings.metrics_host, settings.metrics_port)
    try:
        with composed(settings, registry=registry, health=health) as loops:
            return run_until_signal(loops)
    finally:
        server.close()


@contextmanager
def composed(
    settings: IngestSettings, *, registry: CollectorRegistry, health: observability.Health
) -> Iterator[dict[str, Loop]]:
    """The loops, ready to run. Waits for the registry, once: what it said is kept."""
    keyring = starting.keyring(settings)
    default_tenant = _default_tenant(settings, keyring)
    metrics = IngestMetrics.on(registry)
    codec = starting.codec(settings)
    engine = connect(settings.database, pool_size=3, application="consent-relay ingest")
    ledger = Ledger(
        engine=engine,
        desk=Desk(keyring=keyring, outbox=Outbox(codec=codec, topics=settings.topics, partitions=settings.partitions),
        ids=DecisionIds()),
    )
    letters = Letters(
        codec=codec,
        keyring=keyring,
        topics=settings.topics,
        service=SERVICE,
        metrics=DeadLetterMetrics.on(registry),
    )
    dead_letters = DeadLetterWriter(producer=kafka.producer(settings.kafka, **PRODUCER), letters=letters)
    inbound = Submissions(
        codec=codec,
        ledger=ledger,
        rules=Rules(channels=settings.channels, default_region=settings.default_region),
        tenants=keyring.tenants,
        default_tenant=default_tenant,
        dead_letters=dead_letters,
        metrics=metrics,
    )
    receipts = Receipts(codec=codec, ledger=ledger, dead_letters=dead_letters, metrics=metrics)

    def loop(name: str, topic: str, handle: Handle, **fetching: int) -> Loop:
        batches = ConsumerLoop(
            name=name,
            topic=topic,
            open_consumer=lambda: kafka.consumer(
                settings.kafka,
                settings.topics.group(f"consent-api-{name}"),
                group_instance_id=settings.topics.group(f"{settings.instance_id}-{name}"),
                **{**CONSUMER, **fetching},
            ),
            handle=handle,
            transient=NOT_NOW,
            health=health,
            metrics=metrics,
            batch_size=settings.ingest_batch,
        )
        needed = [topic, settings.topics.dead_letters(SERVICE)]
        return over_right_topics(batches.run, settings, needed, health=health, part=name)

    try:
        yield {
            "inbound": loop("inbound", settings.topics.inbound, inbound.handle),
            "receipts": loop("receipts", settings.topics.receipts, receipts.handle, **RECEIPTS_MAY_WAIT),
            "clock": ClockWatch(ledger=ledger, offset=metrics.clock_offset, health=health).run,
        }
    finally:
        engine.dispose()


def _default_tenant(settings: IngestSettings, keyring: Keyring) -> str | None:
    named = settings.ingest_tenant
    if named is None:
        return keyring.tenants[0] if len(keyring.tenants) == 1 else None
    if named not in keyring.tenants:
        raise Misconfigured("CONSENT_RELAY_INGEST_TENANT: names a tenant that the keyring has no hash keys for.")
    return named
