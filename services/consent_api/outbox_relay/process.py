"""The relay's composition root: builds its clients from the settings and runs it until a signal.

Each lane has threads, connections and producers of its own, so live never waits for bulk: one that publishes, one that
tries the partitions that do not take records, one that takes turns. Another one repairs holes, one compares the lists
with the ledger, one publishes renewals, and one measures.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, event

from consent_api.ledger.database import connect, refuse_denied
from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_api.ledger.recording import LedgerContext
from consent_api.monitors import CLOCK, ClockMonitor
from consent_api.operations.verify import scrub
from consent_api.operations.verify.composition import opened
from consent_api.operations.verify.metrics import ScrubMetrics
from consent_api.operations.verify.repairing import RepairWriter
from consent_api.operations.verify.scrub import ScrubLoop
from consent_api.operations.verify.scrub_table import ScrubTable
from consent_api.outbox_relay import renewal_loop, repair_loop
from consent_api.outbox_relay.availability import PartitionAvailability
from consent_api.outbox_relay.denials import denial_of
from consent_api.outbox_relay.hole_reader import CONSUMER, HoleReader
from consent_api.outbox_relay.loop import DenialOf, LaneRelay
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.monitor import PART as MONITOR
from consent_api.outbox_relay.monitor import MonitoredLane, OutboxMonitor, ResolvedAge
from consent_api.outbox_relay.outbox_table import OutboxTable
from consent_api.outbox_relay.poll_interval import PollInterval
from consent_api.outbox_relay.publisher import PRODUCER, Publisher
from consent_api.outbox_relay.renewal_loop import RenewalLoop
from consent_api.outbox_relay.repair_loop import RepairLoop
from consent_api.outbox_relay.repair_table import RepairTable
from consent_api.outbox_relay.resolved import ResolvedPublisher
from consent_api.outbox_relay.topic_info import TopicInfo
from consent_api.outbox_relay.turn_loop import TurnLoop
from consent_api.outbox_relay.turns import TurnTable
from consent_api.runtime import Loop, run_until_signal, wait_for_topics
from consent_api.settings import OutboxRelaySettings
from consent_kafka import clients
from consent_kafka.registry import lazy_codec
from consent_privacy.keyring import Keyring
from consent_service import startup
from consent_service.health import Health
from consent_service.stall_timer import STALLED_SECONDS, StallTimer

log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400.0
_BULK_POLL_FACTOR = 10
_RETRY_INTERVAL = PollInterval(shortest=0.05, longest=0.5)


def run(settings: OutboxRelaySettings) -> int:
    """Until SIGTERM; the exit code. Starts, and waits, also while the broker or the database does not answer."""
    startup.begin_logs(settings)
    registry = CollectorRegistry()
    health = Health(expected=(*map(relay_part, Lane), repair_loop.PART))
    server = startup.serve_pages(settings, registry, health)
    try:
        with composed(settings, registry=registry, health=health) as loops:
            return run_until_signal(loops)
    finally:
        server.close()


def relay_part(lane: Lane) -> str:
    """The name of a lane's loop on the health page."""
    return f"{lane.value}-relay"


@contextmanager
def composed(
    settings: OutboxRelaySettings,
    *,
    registry: CollectorRegistry,
    health: Health,
    stalled_after: float = STALLED_SECONDS,
) -> Iterator[dict[str, Loop]]:
    """The loops of one relay, ready to run."""
    with ExitStack() as stack:
        yield _Composition(settings, registry, health, stalled_after, stack).loops()


class _Composition:
    def __init__(
        self,
        settings: OutboxRelaySettings,
        registry: CollectorRegistry,
        health: Health,
        stalled_after: float,
        stack: ExitStack,
    ) -> None:
        self.settings = settings
        self.health = health
        self.stalled_after = stalled_after
        self.stack = stack
        self.relay_id = f"{settings.instance_id} {uuid4()}"
        self.metrics = RelayMetrics.on(registry, topics=[lane.changes(settings.topics) for lane in Lane])
        self.scrub_metrics = ScrubMetrics.on(registry)
        self.keyring_file = startup.keyring_file(settings)
        self.stack.callback(startup.watch_secrets(settings, registry, health, self.keyring_file).close)
        # Ids are looked up by the loops that need them: rows are published while the registry does not answer.
        self.codec = lazy_codec(settings)
        self.admin = clients.admin(settings.kafka, {"log_level": 2, **settings.kafka_client})
        self.info = {lane: TopicInfo(self.admin, lane.changes(settings.topics)) for lane in Lane}
        self.monitor_engine = self._connect("outbox monitor")
        refuse_denied(self.monitor_engine)

    def loops(self) -> dict[str, Loop]:
        loops: dict[str, Loop] = {}
        monitored = []
        relays: dict[Lane, LaneRelay] = {}
        for lane in Lane:
            turns = self._turns(lane)
            progress = StallTimer(bound=self.stalled_after, clock=time.monotonic)
            partitions = PartitionAvailability(
                topic=lane.changes(self.settings.topics),
                partitions=self.settings.partitions,
                unavailable=self.metrics.unavailable,
            )
            relay = self._relay(
                lane,
                relay_part(lane),
                turns,
                progress,
                partitions,
                scope=partitions.available,
                yields_to=relays.get(Lane.LIVE),
            )
            relays[lane] = relay
            retry = self._relay(lane, _retry_part(lane), turns, progress, partitions, scope=partitions.next_unavailable)
            parts = {relay_part(lane): relay.run, _retry_part(lane): retry.run, _turns_part(lane): turns.run}
            topics = [lane.changes(self.settings.topics)]
            for part, loop in parts.items():
                loops[part] = wait_for_topics(loop, self.settings, topics, health=self.health, part=part)
            monitored.append(
                MonitoredLane(
                    lane=lane,
                    outbox=OutboxTable(self.monitor_engine, lane),
                    resolved_age=ResolvedAge(self.monitor_engine, lane),
                    progress=progress,
                    stalled_after=self.stalled_after,
                    rejected_count=partial(_rejected, relay),
                )
            )
        loops[MONITOR] = OutboxMonitor(lanes=monitored, metrics=self.metrics, health=self.health).run
        clock = ClockMonitor(engine=self._connect("relay clock"), offset=self.metrics.clock_offset, health=self.health)
        loops[CLOCK] = clock.run
        repair = self._repair()
        needed = [self.settings.topics.resolved, self.settings.topics.changes_bulk]
        loops[repair_loop.PART] = wait_for_topics(
            repair.run, self.settings, needed, health=self.health, part=repair_loop.PART
        )
        loops[scrub.PART] = self._scrub().run
        if self.settings.renewal_days:
            loops[renewal_loop.PART] = wait_for_topics(
                self._renewals().run,
                self.settings,
                [self.settings.topics.renewals],
                health=self.health,
                part=renewal_loop.PART,
            )
        return loops

    def _turn_table(self, lane: Lane) -> TurnTable:
        topics = self.settings.topics
        return TurnTable(
            lane=lane,
            relay=self.relay_id,
            inbound_topic=topics.inbound if lane is Lane.LIVE else topics.inbound_bulk,
            on_loss=partial(self._report_loss, lane),
        )

    def _turns(self, lane: Lane) -> TurnLoop:
        return TurnLoop(
            lane=lane,
            name=_turns_part(lane),
            engine=self._connect(f"{lane.value} turns"),
            table=self._turn_table(lane),
            topic_id=self.info[lane].topic_id,
            prepare=partial(self.codec.prepare, [lane.changes(self.settings.topics)]),
            partitions=self.settings.partitions,
            metrics=self.metrics,
            health=self.health,
        )

    def _relay(
        self,
        lane: Lane,
        part: str,
        turns: TurnLoop,
        progress: StallTimer,
        partitions: PartitionAvailability,
        *,
        scope: Callable[[], frozenset[int]],
        yields_to: LaneRelay | None = None,
    ) -> LaneRelay:
        engine = self._connect(part.replace("-", " "))
        event.listen(engine, "connect", _without_waiting_for_disk)
        outbox = OutboxTable(engine, lane)
        relay = LaneRelay(
            lane=lane,
            name=part,
            outbox=outbox,
            publisher=self._publisher(),
            denial_of=self._denial_of(lane),
            partitions=partitions,
            scope=scope,
            metrics=self.metrics,
            health=self.health,
            progress=progress,
            interval=self._interval(lane) if part == relay_part(lane) else _RETRY_INTERVAL,
            batch=self.settings.relay_batch,
            yields_to=yields_to,
        )
        relay.resolved = ResolvedPublisher(
            lane=lane,
            topic=lane.changes(self.settings.topics),
            engine=engine,
            outbox=outbox,
            table=self._turn_table(lane),
            codec=self.codec,
            state=lambda: turns.state,
            topic_id=self.info[lane].topic_id,
            publish=relay.publish,
            on_loss=partial(self._report_loss, lane),
        )
        return relay

    def _interval(self, lane: Lane) -> PollInterval:
        """Bulk is read ten times less often: no person waits for it, and each idle read costs processor time."""
        factor = 1 if lane is Lane.LIVE else _BULK_POLL_FACTOR
        return PollInterval(
            shortest=self.settings.relay_poll_shortest * factor, longest=self.settings.relay_poll_longest * factor
        )

    def _repair(self) -> RepairLoop:
        settings, topics = self.settings, self.settings.topics
        engine = self._connect("hole repair")

        def reader() -> HoleReader:
            return HoleReader(
                consumer=clients.consumer(
                    settings.kafka, topics.group("consent-api-holes"), settings.kafka_client, **CONSUMER
                ),
                codec=self.codec,
                topic=topics.resolved,
                bulk_topic=topics.changes_bulk,
                partitions=settings.partitions,
            )

        return RepairLoop(
            reader=reader,
            table=RepairTable(engine, relay=self.relay_id),
            engine=engine,
            keyring=self._keyring,
            outbox=ChangeMessages(codec=self.codec, topics=topics, partitions=settings.partitions),
            codec=self.codec,
            publisher=self._publisher(),
            denial_of=self._denial_of(Lane.BULK),
            topic=topics.changes_bulk,
            topic_id=self.info[Lane.BULK].topic_id,
            end_offset=self.info[Lane.BULK].end_offset,
            metrics=self.metrics,
            health=self.health,
        )

    def _scrub(self) -> ScrubLoop:
        settings = self.settings
        engine = self._connect("scrub", pool_size=2)
        outbox = ChangeMessages(codec=self.codec, topics=settings.topics, partitions=settings.partitions)
        context = LedgerContext(keyring=self._keyring(), outbox=outbox, ids=DecisionIds())
        ledger = Ledger(engine=engine, context=context, keyring=self._keyring)
        return ScrubLoop(
            table=ScrubTable(engine, relay=self.relay_id),
            opened=lambda pause, pace: opened(
                settings,
                engine=engine,
                keyring=self._keyring(),
                codec=self.codec,
                addresses_in_memory=scrub.ADDRESSES_IN_MEMORY,
                page_size=scrub.STEP_ADDRESSES,
                batch=scrub.STEP_RECORDS,
                wait_seconds=scrub.WAIT_SECONDS,
                pause=pause,
                pace=pace,
            ),
            writer=lambda pause: RepairWriter(ledger, partitions=settings.partitions, sleep=pause),
            metrics=self.scrub_metrics,
            period_seconds=settings.scrub_days * _DAY_SECONDS,
        )

    def _renewals(self) -> RenewalLoop:
        return RenewalLoop(
            engine=self._connect("renewals"),
            keyring=self._keyring,
            codec=self.codec,
            publisher=self._publisher(),
            topic=self.settings.topics.renewals,
            partitions=self.settings.partitions,
            days=self.settings.renewal_days,
            metrics=self.metrics,
            health=self.health,
        )

    def _keyring(self) -> Keyring:
        return self.keyring_file.value

    def _report_loss(self, lane: Lane, partition: int) -> None:
        self.metrics.losses.labels(lane.value).inc()
        log.error(
            "kafka lost records: they are published again once the merge has reported a hole",
            extra={"lane": lane.value, "partition": partition},
        )

    def _denial_of(self, lane: Lane) -> DenialOf:
        return lambda connection, row: denial_of(connection, self.codec, row, lane)

    def _publisher(self) -> Publisher:
        return Publisher(partial(clients.producer, self.settings.kafka, self.settings.kafka_client, **PRODUCER))

    def _connect(self, purpose: str, *, pool_size: int = 1) -> Engine:
        engine = connect(self.settings.database, pool_size=pool_size, application=f"consent-relay {purpose}")
        self.stack.callback(engine.dispose)
        return engine


def _retry_part(lane: Lane) -> str:
    return f"{lane.value}-retry"


def _turns_part(lane: Lane) -> str:
    return f"{lane.value}-turns"


def _rejected(relay: LaneRelay) -> int:
    return relay.rejected_count


def _without_waiting_for_disk(connection: Any, _: object) -> None:
    """The loop of a lane deletes, and notes what it published. What is lost of that in a crash of the server is a
    record published twice, which changes nothing, so no commit here has to wait for the disk: half of the time of a
    small batch. A loss number is the exception, and waits.
    """
    connection.execute("SET synchronous_commit = off")
    connection.commit()
