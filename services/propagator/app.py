"""Composition root: every client of the propagator is built here."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from consent_contracts.codec import Codec
from consent_kafka import clients
from consent_kafka.dead_letters import DeadLetterMetrics, DeadLetterProducer
from consent_kafka.registry import connect_codec
from consent_kafka.resolved import StalenessLimits
from consent_kafka.transport import ChunkApp, StreamSpec, TransportMetrics, build, run
from consent_privacy.keyring import Keyring
from consent_service import startup
from consent_service.health import Health
from consent_service.secret_files import WATCH_SECONDS, SecretFile
from consent_service.wrong_entries import RECHECK_SECONDS
from consent_state import Compactor, StateStore, StateStoreMetrics, table_consumer
from propagator.config.model import Destination, live_keys
from propagator.connectors.base import ConnectionSettings, Connector
from propagator.connectors.rotating import RotatingConnector, followed_connection
from propagator.metrics import Metrics
from propagator.sending.destination_worker import DestinationWorker
from propagator.sending.loop_share import LoopShare
from propagator.settings import PropagatorSettings
from propagator.state.active import ActiveSender, Worker, health_name
from propagator.state.broker_watch import BrokerWatch
from propagator.state.dead_letters import DeadLetterReporter
from propagator.state.destination_state import TableDestinationState
from propagator.state.events import StateEvents
from propagator.state.freshness import Freshness, FreshnessLimits
from propagator.state.layout import FORMAT_VERSION
from propagator.state.lost import LostState
from propagator.state.metrics import StateMetrics
from propagator.state.planning import PlannedDestination, RecordDecoder
from propagator.state.reader import StateReader
from propagator.state.records import RecordBuilder
from propagator.state.session import SenderSession
from propagator.state.tables import PartitionTables, TableTopics
from propagator.timing import TERM_END_SECONDS

log = logging.getLogger(__name__)

MIB = 1024 * 1024
SWITCH_SECONDS = 0.0005
COLLECT_AFTER = 10_000
"""Allocations between two searches for cyclic garbage. The small values of a batch of pushes live until it is recorded:
with Python's own 700 they are searched again and again."""
CACHE_MIB = 32
"""Of all partitions together, for reading and for writing each."""
QUEUED_KIB = 8 * 1024
"""Records that are fetched and not in the tables yet. With librdkafka's own 64 MiB a restore takes twice the memory."""


def run_propagator(
    settings: PropagatorSettings,
    destinations: Sequence[Destination],
    keyring: SecretFile[Keyring],
    *,
    registry: CollectorRegistry,
    health: Health,
    mended: Callable[[], bool] | None = None,
) -> int:
    """Keep the tables, and send while this process is the active one, until a signal (0), a failure (not 0), a change
    of the hash keys, or `mended`: whether a destination that was wrong at the start can be used (EXIT_RESTART)."""
    # The thread of the tables and the event loop share one interpreter. A call takes a dozen turns of the loop, and
    # with the default of 5 ms each waits that long for a thread that plans the entries of an import.
    sys.setswitchinterval(SWITCH_SECONDS)
    connections = {
        each.name: followed_connection(each.connector_type, each.connection)
        for each in destinations
        if each.connection.credential_files
    }
    propagator = Propagator(
        settings,
        destinations,
        lambda: keyring.value,
        registry=registry,
        health=health,
        connections=connections,
        mended=mended,
    )
    watch = startup.watch_secrets(settings, registry, health, keyring, *connections.values())
    server = startup.serve_pages(settings, registry, health)
    gc.freeze()  # What was imported and built until now stays: it is not searched.
    gc.set_threshold(COLLECT_AFTER)
    propagator.compactor.start()
    try:
        propagator.reader.start()
        return run([propagator.app()])
    finally:
        propagator.reader.stop()
        propagator.compactor.close()
        watch.close()
        server.close()


class Propagator:
    """The parts of one process. Nothing runs before `reader.start`, `compactor.start` and the app do."""

    def __init__(
        self,
        settings: PropagatorSettings,
        destinations: Sequence[Destination],
        keyring: Callable[[], Keyring],
        *,
        registry: CollectorRegistry,
        health: Health,
        make_worker: Callable[[str], Worker] | None = None,
        connections: Mapping[str, SecretFile[ConnectionSettings]] | None = None,
        mended: Callable[[], bool] | None = None,
    ) -> None:
        """`keyring`: that of the moment. `make_worker` opens what sends to a destination, by its name; by default the
        real one. `connections`: by destination, where its credentials may change. `mended`: whether a destination that
        was wrong at the start can be used; None where none was."""
        self._settings = settings
        self._destinations = {each.name: each for each in destinations}
        self._keyring = keyring
        self._registry = registry
        self._health = health
        self._topics = settings.topics
        channels = {each.name: each.channel for each in destinations}
        self._metrics = Metrics.on(registry, channels=channels)
        self._state_metrics = StateMetrics.on(registry, propagator=settings.propagator_name, destinations=channels)
        StateStoreMetrics.on(registry, settings.state_dir)
        self._events = StateEvents(self._metrics, self._state_metrics)
        self._admin = clients.admin(settings.kafka, settings.kafka_client)
        self._stopping = threading.Event()
        self._session = SenderSession()
        self._codec: Codec = connect_codec(settings)
        self._connections = connections or {}
        self._mended = mended
        self._planned = [_planned(each, keyring()) for each in destinations]
        self._decoder = RecordDecoder(
            self._codec,
            list_topics={each.channel: self._topics.suppression(each.channel) for each in destinations},
            state_topic=self._topics.propagation_state(settings.propagator_name),
        )
        self._records = RecordBuilder(self._codec, self._topics, settings.propagator_name)
        self._make_worker = make_worker or self._worker
        self._loop_share = LoopShare(time.monotonic)
        self.compactor = Compactor()
        self.reader = self._reader()
        self.states = {
            each.name: TableDestinationState(
                each, reader=self.reader, decoder=self._decoder, session=self._session, records=self._records
            )
            for each in self._planned
        }

    def sender(self) -> ActiveSender:
        """What the member of the group does that holds the partition."""
        settings = self._settings
        return ActiveSender(
            reader=self.reader,
            session=self._session,
            records=self._records,
            destinations=self._planned,
            make_worker=self._make_worker,
            make_producer=lambda: clients.transactional_producer(
                settings.kafka,
                self._topics.group(f"propagator.{settings.propagator_name}"),
                settings.kafka_client,
            ),
            admin=self._admin,
            health=self._health,
            events=self._events,
        )

    def app(self) -> ChunkApp:
        """The Faust app: group membership, life cycle and signals."""
        settings = self._settings
        app = self._app = build(
            StreamSpec(
                name="sender",
                group=self._topics.group(f"propagator.{settings.propagator_name}"),
                topics=(self._topics.propagation_active(settings.propagator_name),),
                open=self.sender().open,
            ),
            bootstrap=settings.kafka,
            client_config=settings.kafka_client,
            instance_id=settings.instance_id,
            health=self._health,
            metrics=TransportMetrics.on(self._registry),
            session_timeout=settings.propagator_session_timeout,
            close_timeout=TERM_END_SECONDS,
            static=False,
        )

        async def watch_tables() -> None:
            app.fail(await self.reader.failure())

        async def watch_hash_keys() -> None:
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                if self.outdated():
                    log.warning("the hash keys have changed: the process starts again, to plan every address by them")
                    app.start_again()
                    return

        async def watch_wrong_destinations() -> None:
            while self._mended is not None:
                await asyncio.sleep(RECHECK_SECONDS)
                if await asyncio.to_thread(self._mended):
                    log.warning("a destination that was wrong can be used: the process starts again")
                    app.start_again()
                    return

        app.task(watch_tables)
        app.task(watch_hash_keys)
        app.task(watch_wrong_destinations)
        return app

    def outdated(self) -> bool:
        """Whether what is planned was planned by hash keys other than those of the keyring now. A keyring by which
        nothing could be planned does not count."""
        keyring = self._keyring()
        unusable = sorted({each.tenant for each in self._destinations.values() if not live_keys(keyring, each.tenant)})
        self._health.note(
            "keyring",
            f"does not begin with the oldest hash key of {', '.join(unusable)}: not in use" if unusable else "",
        )
        changed = (each.rules != self._destinations[each.rules.destination].rules(keyring) for each in self._planned)
        return not unusable and any(changed)

    def _connector(self, destination: Destination) -> Connector:
        connection = self._connections.get(destination.name)
        if connection is None:
            return destination.connector_type.build(destination.connection)
        return RotatingConnector(destination.connector_type, connection)

    def _worker(self, name: str) -> DestinationWorker:
        destination = self._destinations[name]
        return DestinationWorker(
            destination,
            self._connector(destination),
            self.states[name],
            self._keyring,
            self._metrics,
            on_fatal_error=lambda error: self._app.fail(error),
            on_verified=lambda state: self._health.set_ready(health_name(name), state),
            heartbeat=lambda: self._health.heartbeat(health_name(name)),
            loop_share=self._loop_share,
        )

    def _reader(self) -> StateReader:
        settings, topics = self._settings, self._topics
        table_topics = TableTopics(
            lists={topics.suppression(each.channel): each.channel for each in self._destinations.values()},
            state=topics.propagation_state(settings.propagator_name),
            resolved=topics.resolved,
        )
        letters = DeadLetterProducer(
            producer=clients.producer(settings.kafka, settings.kafka_client),
            codec=self._codec,
            keyring=self._keyring,
            topics=topics,
            service=settings.service,
            metrics=DeadLetterMetrics.on(self._registry, service=settings.service, topics=table_topics.lists),
        )
        directory = settings.state_dir / f"propagator-{settings.propagator_name}"
        broker_watch = BrokerWatch(self._admin, self._health)
        self._state_metrics.clock_offset.set_function(broker_watch.clock_check.offset_seconds)
        tables = [
            PartitionTables(
                _open_store(directory / str(partition), settings.partitions, self.compactor),
                partition,
                topics=table_topics,
                destinations=self._planned,
                decoder=self._decoder,
                unreadable=DeadLetterReporter(letters, self._stopping),
                events=self._events,
                undurable=self._session.overlay.rows,
            )
            for partition in range(settings.partitions)
        ]
        return StateReader(
            tables,
            topics=table_topics,
            make_consumer=lambda: table_consumer(
                settings.kafka,
                topics.group(f"propagator.{settings.propagator_name}.tables"),
                settings.kafka_client,
                queued_max_messages_kbytes=QUEUED_KIB,
                max_partition_fetch_bytes=2 * MIB,
            ),
            admin=self._admin,
            freshness=Freshness(self._codec, topics.resolved, settings.partitions, _limits(settings)),
            broker_watch=broker_watch,
            lost=LostState(directory / "state-lost"),
            health=self._health,
            events=self._events,
            stopping=self._stopping,
        )


def _planned(destination: Destination, keyring: Keyring) -> PlannedDestination:
    return PlannedDestination(
        rules=destination.rules(keyring),
        generation=destination.generation,
        fingerprint=destination.fingerprint(keyring),
    )


def _open_store(path: Path, partitions: int, compactor: Compactor) -> StateStore:
    share = max(1, CACHE_MIB // partitions) * MIB
    return StateStore.open(
        path,
        format_version=FORMAT_VERSION,
        partitions=partitions,
        block_cache_bytes=share,
        write_buffer_bytes=share,
        compactor=compactor,
    )


def _limits(settings: PropagatorSettings) -> FreshnessLimits:
    return FreshnessLimits(
        staleness=StalenessLimits(
            live=_micros(settings.propagator_stale_after),
            inbound=_micros(settings.propagator_inbound_stale_after),
            bulk=_micros(settings.propagator_bulk_stale_after),
        ),
        permission_age=_micros(settings.propagator_permission_max_age),
    )


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
