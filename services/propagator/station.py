"""One destination in this process: its dispatcher runs while at least one of its partitions is ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Consumer, Producer

from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_runtime import kafka
from consent_runtime.keyring import Keyring
from consent_runtime.observability import Health
from consent_runtime.transport.contract import Ownership, Stream
from propagator.ahead import Ahead
from propagator.config import Destination
from propagator.connector import Connector
from propagator.dispatch import Dispatcher
from propagator.feed import Feed
from propagator.metrics import Metrics
from propagator.parking import Parking
from propagator.receipts import Receipts, Sender
from propagator.room import DeadLetters, Room

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Clients:
    """What all destinations of the process share."""

    bootstrap: str
    topics: Topics
    codec: Codec
    keyring: Keyring
    producer: Sender
    dead_letters: DeadLetters
    metrics: Metrics
    health: Health


def group(topics: Topics, destination: str) -> str:
    """The consumer group of a destination: resetting its offsets pushes everything again."""
    return topics.group(f"propagator.{destination}")


class Station:
    """Opens the partitions of one destination. One event loop."""

    def __init__(self, destination: Destination, clients: Clients, *, connector: Connector | None = None) -> None:
        """`connector` stands in for the destination's own, in tests."""
        self.destination = destination
        self._clients = clients
        self._connector = connector
        self._room: Room | None = None
        self._feeds: set[Feed] = set()
        self._watching: asyncio.Task[None] | None = None
        self._oldest: int | None = None
        self.fail: Callable[[BaseException], None] = _raise
        """Called with a bug of ours; the composition root sets it to end the process."""
        self._loop_name = f"calls of {destination.name}"
        self._schemas_name = f"schemas of {destination.name}"
        self._without_schema: set[int] = set()
        name, metrics = destination.name, clients.metrics
        for gauge in (metrics.verified, metrics.breaker_open, metrics.parked, metrics.waiting, metrics.schemas_missing):
            gauge.labels(name).set(0)
        metrics.oldest_untold.labels(name).set_function(self._oldest_seconds)

    def stream(self) -> Stream:
        topics, name = self._clients.topics, self.destination.name
        return Stream(
            name=name,
            group=group(topics, name),
            topics=(topics.suppression(self.destination.channel),),
            open=self.open,
        )

    async def open(self, topic: str, partition: int, ownership: Ownership) -> Feed:
        """A feed that has taken up again what is parked."""
        room = self._room or self._start()
        feed = Feed(
            room, topic, partition, ownership, self._parking(topic, partition, ownership), released=self._released
        )
        self._feeds.add(feed)
        try:
            await feed.recover()
        except BaseException:
            await feed.close()
            raise
        return feed

    async def _released(self, feed: Feed) -> None:
        self._feeds.discard(feed)
        if self._feeds or self._room is None:
            return
        room, self._room = self._room, None
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await room.dispatcher.stop()
        if room.ahead is not None:
            await room.ahead.close()
        self._clients.health.forget(self._loop_name)
        self._clients.health.forget(self._schemas_name)
        self._observe()

    def _start(self) -> Room:
        clients, destination = self._clients, self.destination
        health = clients.health
        dispatcher = Dispatcher(
            destination,
            self._connector or destination.kind.build(destination.account),
            clients.metrics,
            on_bug=self._bug,
            on_verified=partial(health.ready, f"{destination.name} at the tool"),
            beat=partial(health.beat, self._loop_name),
        )
        topics = clients.topics
        room = self._room = Room(
            destination=destination,
            keyring=clients.keyring,
            codec=clients.codec,
            dispatcher=dispatcher,
            receipts=Receipts(
                clients.producer,
                clients.codec,
                topics.receipts,
                clients.metrics,
                destination=destination.name,
                channel=destination.channel,
            ),
            dead_letters=clients.dead_letters,
            metrics=clients.metrics,
            ahead=Ahead(bootstrap=clients.bootstrap, topic=topics.suppression(destination.channel))
            if destination.push_permissions
            else None,
            on_bug=self._bug,
            on_waiting=self._waits,
        )
        dispatcher.start()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {destination.name}")
        return room

    def _parking(self, topic: str, partition: int, ownership: Ownership) -> Parking:
        clients, name = self._clients, self.destination.name

        def producer() -> Producer:
            identity = clients.topics.group(f"propagator.{name}.{partition}.parked")
            return kafka.transactional_producer(clients.bootstrap, identity)

        def consumer() -> Consumer:
            return kafka.consumer(
                clients.bootstrap, f"{group(clients.topics, name)}.recovery", enable_partition_eof=True
            )

        return Parking(
            clients.codec,
            topic=clients.topics.parked,
            source=topic,
            destination=name,
            partition=partition,
            ownership=ownership,
            producer=producer,
            consumer=consumer,
        )

    async def _watch(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                self._observe()
                await asyncio.sleep(WATCH_SECONDS)

    def _observe(self) -> None:
        """Bring the gauges up to date; what takes long gets its `queued` receipt on the way."""
        seen = [feed.watch() for feed in self._feeds]
        self._oldest = min((since for since, _ in seen if since is not None), default=None)
        self._clients.metrics.parked.labels(self.destination.name).set(sum(parked for _, parked in seen))

    def _waits(self, partition: int, reason: str | None) -> None:
        """Entries of the partition cannot be read for now."""
        if reason is None:
            self._without_schema.discard(partition)
        else:
            self._without_schema.add(partition)
        self._clients.metrics.schemas_missing.labels(self.destination.name).set(len(self._without_schema))
        self._clients.health.ready(self._schemas_name, reason or not self._without_schema or "entries wait")

    def _oldest_seconds(self) -> float:
        """Read by the metrics server: it grows on even when the loop hangs."""
        if self._oldest is None or self._room is None:
            return 0.0
        return max(0.0, (self._room.now() - self._oldest) / 1_000_000)

    def _bug(self, error: BaseException) -> None:
        self.fail(error)


def _raise(error: BaseException) -> None:
    raise error
