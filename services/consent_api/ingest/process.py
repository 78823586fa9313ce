"""The composition root of `consent-relay ingest`: loops for live submissions, bulk submissions and receipts.

They share a process because they share all they depend on, and none fills a core; each has a thread, a consumer
and a group of its own, so that one that waits or lags does not hold up another. Bulk lets live go first.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry

from consent_api import tenant_purposes
from consent_api.errors import (
    DeadLettersNotWrittenError,
    LedgerUnavailableError,
    MisconfiguredError,
    ResultsNotWrittenError,
)
from consent_api.ingest.consumer_loop import CONSUMER, ConsumerLoop, Handle
from consent_api.ingest.dead_letter_writer import NOT_STORABLE, PRODUCER, SERVICE, DeadLetterWriter
from consent_api.ingest.metrics import IngestMetrics
from consent_api.ingest.positions import PART as POSITIONS
from consent_api.ingest.positions import EndOffsets, PositionsLoop, RecordedPositions
from consent_api.ingest.preference import LivePreference
from consent_api.ingest.receipts import Receipts
from consent_api.ingest.record import Consumed
from consent_api.ingest.results import PRODUCER as RESULTS_PRODUCER
from consent_api.ingest.results import ResultWriter
from consent_api.ingest.submissions import WITHOUT_EFFECT, Submissions
from consent_api.ingest.throttle import BulkThrottle
from consent_api.ledger import backlog
from consent_api.ledger.database import connect, refuse_denied
from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_api.ledger.purposes import PurposeLimit, wait_for_used
from consent_api.ledger.recording import LedgerContext
from consent_api.monitors import CLOCK, ClockMonitor
from consent_api.runtime import Loop, run_until_signal, wait_for_topics
from consent_api.settings import IngestSettings
from consent_contracts.errors import RegistryUnavailableError
from consent_kafka import clients
from consent_kafka.dead_letters import DeadLetterBuilder, DeadLetterMetrics
from consent_kafka.instance_watch import InstanceWatch, find_holder
from consent_kafka.registry import connect_codec
from consent_privacy.keyring import Keyring
from consent_service import startup
from consent_service.health import Health
from consent_service.wrong_entries import WrongEntries

NOT_NOW = {
    LedgerUnavailableError: "database",
    RegistryUnavailableError: "registry",
    DeadLettersNotWrittenError: "broker",
    ResultsNotWrittenError: "broker",
}
# A receipt is not needed within a quarter of a second: one transaction takes all that come meanwhile.
RECEIPTS_MAY_WAIT = {"fetch_wait_max_ms": 250, "fetch_min_bytes": 65_536}
# Decisions in one transaction of the live lane at first; it grows while they fit into the lane's second, since an
# attempt that does not fit costs seconds.
_FIRST_LIVE_TRANSACTION = 200
_LONGEST_BULK_SECONDS = Lane.BULK.limit_seconds + 30.0
"""A transaction of the bulk lane, its rest and the dead letters."""


def run(settings: IngestSettings) -> int:
    """Until SIGTERM; the exit code. MisconfiguredError when a tenant in the settings has no keys."""
    startup.begin_logs(settings)
    registry = CollectorRegistry()
    health = Health(expected=("inbound", "inbound-bulk", "receipts"))
    server = startup.serve_pages(settings, registry, health)
    try:
        with composed(settings, registry=registry, health=health) as loops:
            return run_until_signal(loops)
    finally:
        server.close()


@contextmanager
def composed(settings: IngestSettings, *, registry: CollectorRegistry, health: Health) -> Iterator[dict[str, Loop]]:
    """The loops, ready to run. Waits for the registry once: the schema ids are kept."""
    file = startup.keyring_file(settings)
    keyring = file.value
    bound = {
        Lane.LIVE: _bound(settings.ingest_live_tenants, "CONSENT_RELAY_INGEST_LIVE_TENANTS", keyring),
        Lane.BULK: _bound(settings.ingest_bulk_tenants, "CONSENT_RELAY_INGEST_BULK_TENANTS", keyring),
    }
    default_tenants = {lane: _default_tenant(settings, tenants) for lane, tenants in bound.items()}
    wrong_entries = WrongEntries(registry, health, settings=(tenant_purposes.SETTING,))
    rules = settings.rules(keyring.tenants, on_wrong=wrong_entries)
    topics = settings.topics
    read = [topics.inbound, topics.inbound_bulk, topics.receipts]
    metrics = IngestMetrics.on(registry, topics=read)
    codec = connect_codec(settings)
    engine = connect(settings.database, pool_size=6, application="consent-relay ingest")
    refuse_denied(engine)
    ledger = Ledger(
        engine=engine,
        context=LedgerContext(
            keyring=keyring,
            outbox=ChangeMessages(codec=codec, topics=settings.topics, partitions=settings.partitions),
            ids=DecisionIds(),
            most_addresses=settings.subject_addresses,
            purposes=PurposeLimit(most=settings.max_purposes),
            notices=settings.notices,
        ),
        keyring=lambda: file.value,
    )
    rules = wait_for_used(rules, ledger.transact)
    letters = DeadLetterBuilder(
        codec=codec,
        keyring=lambda: file.value,
        topics=settings.topics,
        service=SERVICE,
        metrics=DeadLetterMetrics.on(registry, service=SERVICE, topics=read, reasons=(WITHOUT_EFFECT, NOT_STORABLE)),
    )
    preference = LivePreference()
    throttle = BulkThrottle(
        lambda: ledger.transact(partial(backlog.read, partitions=settings.partitions)), throttled=metrics.throttled
    )
    positions = RecordedPositions()

    def dead_letters() -> DeadLetterWriter:
        return DeadLetterWriter(
            producer=clients.producer(settings.kafka, settings.kafka_client, **PRODUCER), letters=letters
        )

    def end_offsets() -> EndOffsets:
        return EndOffsets(lambda: clients.admin(settings.kafka, {"log_level": 2, **settings.kafka_client}))

    def submissions(lane: Lane) -> Submissions:
        return Submissions(
            lane=lane,
            codec=codec,
            ledger=ledger,
            rules=rules,
            tenants=keyring.tenants,
            bound=bound[lane],
            default_tenant=default_tenants[lane],
            dead_letters=dead_letters(),
            results=ResultWriter(
                producer=clients.producer(settings.kafka, settings.kafka_client, **RESULTS_PRODUCER),
                codec=codec,
                topic=topics.results,
                metrics=metrics,
            ),
            metrics=metrics,
            no_lift=settings.ingest_no_lift,
            sampled_ratio=settings.sampled_ratio,
            most=_FIRST_LIVE_TRANSACTION if lane is Lane.LIVE else settings.ingest_bulk_batch,
        )

    live, bulk = submissions(Lane.LIVE), submissions(Lane.BULK)
    receipts = Receipts(codec=codec, ledger=ledger, dead_letters=dead_letters(), metrics=metrics)

    def handle_live(records: Sequence[Consumed]) -> Sequence[Consumed]:
        with preference.live():
            return live.handle(records)

    def handle_bulk(records: Sequence[Consumed]) -> Sequence[Consumed]:
        throttle.wait()
        with preference.bulk():
            return bulk.handle(records)

    def loop(
        name: str,
        topic: str,
        handle: Handle,
        *,
        batch: int = settings.ingest_batch,
        positions: RecordedPositions | None = None,
        fetching: Mapping[str, int] | None = None,
        longest_batch: float = 0.0,
    ) -> Loop:
        group, instance_id = topics.group(f"consent-api-{name}"), topics.group(f"{settings.instance_id}-{name}")
        consumer_loop = ConsumerLoop(
            name=name,
            topic=topic,
            open_consumer=lambda: clients.consumer(
                settings.kafka,
                group,
                settings.kafka_client,
                on_unfetchable=lambda *passed_over: consumer_loop.pass_over(*passed_over),
                group_instance_id=instance_id,
                **{**CONSUMER, **(fetching or {})},
            ),
            handle=handle,
            transient=NOT_NOW,
            health=health,
            metrics=metrics,
            instance=InstanceWatch(
                instance_id=instance_id,
                session_timeout=clients.SESSION_SECONDS,
                look=partial(find_holder, settings.kafka, group, instance_id, settings.kafka_client),
            ),
            high_watermarks=end_offsets(),
            positions=positions,
            batch_size=batch,
            longest_batch=longest_batch,
        )
        needed = [topic, topics.dead_letters(SERVICE), *([] if topic == topics.receipts else [topics.results])]
        return wait_for_topics(consumer_loop.run, settings, needed, health=health, part=name)

    stored = PositionsLoop(
        ledger=ledger,
        positions=positions,
        ends=end_offsets(),
        topics=[topics.inbound, topics.inbound_bulk],
        partitions=settings.partitions,
        health=health,
    )
    watch = startup.watch_secrets(settings, registry, health, file)
    try:
        yield {
            "inbound": loop("inbound", topics.inbound, handle_live, positions=positions),
            "inbound-bulk": loop(
                "inbound-bulk",
                topics.inbound_bulk,
                handle_bulk,
                batch=settings.ingest_bulk_batch,
                positions=positions,
                longest_batch=_LONGEST_BULK_SECONDS,
            ),
            "receipts": loop(
                "receipts",
                topics.receipts,
                receipts.handle,
                fetching=RECEIPTS_MAY_WAIT,
                longest_batch=_LONGEST_BULK_SECONDS,
            ),
            POSITIONS: stored.run,
            CLOCK: ClockMonitor(engine=engine, offset=metrics.clock_offset, health=health).run,
        }
    finally:
        watch.close()
        engine.dispose()


def _bound(named: Sequence[str], setting: str, keyring: Keyring) -> tuple[str, ...]:
    """The tenants that an inbound topic takes submissions of."""
    if set(named) - set(keyring.tenants):
        raise MisconfiguredError(f"{setting}: names a tenant that the keyring has no hash keys for.")
    return tuple(named or keyring.tenants)


def _default_tenant(settings: IngestSettings, bound: Sequence[str]) -> str | None:
    """Of submissions by a topic that names no tenant; `bound` are the tenants that it takes."""
    named = settings.ingest_tenant
    if named is None:
        return bound[0] if len(bound) == 1 else None
    if named not in bound:
        raise MisconfiguredError(
            "CONSENT_RELAY_INGEST_TENANT: names a tenant that the keyring has no hash keys for, or that is not in"
            " CONSENT_RELAY_INGEST_LIVE_TENANTS or _BULK_TENANTS."
        )
    return named
