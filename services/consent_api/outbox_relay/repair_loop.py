"""Repairs holes: publishes what a partition lacks again, from the ledger, and ends each with a marker.

All holes that are known when a pass begins are repaired in one pass over the history, each limited to its partition
and channel, refusals first. The pass is resumable: its cursor is in the ledger. Decisions that are recorded meanwhile
are in the outbox and need no repair.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from confluent_kafka import KafkaException
from sqlalchemy import Connection, Engine

from consent_api.errors import LedgerUnavailableError, PublishFailedError, TopicChangedError
from consent_api.ledger.database import transact
from consent_api.ledger.lanes import Lane
from consent_api.ledger.outbox_messages import ChangeMessages, Message
from consent_api.operations.republish import pages
from consent_api.operations.republish.pages import Cursor, Page, Selection
from consent_api.outbox_relay.hole_reader import HoleReader
from consent_api.outbox_relay.holes import Hole, Repair, ReportedHole, covers, marker_is_lost
from consent_api.outbox_relay.loop import DenialOf
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.outbox_table import UNREACHABLE, Row
from consent_api.outbox_relay.points import has_gone_back
from consent_api.outbox_relay.publisher import Publisher
from consent_api.outbox_relay.repair_table import RepairTable
from consent_api.outbox_relay.resolved import resolved_row
from consent_api.outbox_relay.timing import HOLE_CHECK_SECONDS, MARKER_CHECK_SECONDS, RETRY_BACKOFF
from consent_contracts.codec import Codec
from consent_contracts.errors import NotRegisteredError, RegistryUnavailableError
from consent_privacy.errors import KeyringError
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_service.errors import RetryStoppedError
from consent_service.health import Health
from consent_service.retry import Failure, retry

log = logging.getLogger(__name__)

PART = "repair"
TRANSIENT: tuple[type[Exception], ...] = (
    PublishFailedError,
    RegistryUnavailableError,
    NotRegisteredError,
    LedgerUnavailableError,
    KafkaException,
    # The keyring lacks what the history needs: this holds up repairs, and must not end the lanes with them.
    KeyringError,
    *UNREACHABLE,
)


class RepairLoop:
    """One thread, with a connection, a consumer and a producer of its own."""

    def __init__(
        self,
        *,
        reader: Callable[[], HoleReader],
        table: RepairTable,
        engine: Engine,
        keyring: Callable[[], Keyring],
        outbox: ChangeMessages,
        codec: Codec,
        publisher: Publisher,
        denial_of: DenialOf,
        topic: str,
        topic_id: Callable[[], str | None],
        end_offset: Callable[[int], int | None],
        metrics: RelayMetrics,
        health: Health,
        page_size: int = 2_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`topic`: the bulk changes topic; `topic_id` and `end_offset` (of a partition) ask the broker about it, None
        when it does not answer. `page_size`: decisions in one page of the history."""
        self._reader = reader
        self._table = table
        self._engine = engine
        self._keyring = keyring
        self._outbox = outbox
        self._codec = codec
        self._publisher = publisher
        self._denial_of = denial_of
        self._topic = topic
        self._topic_id = topic_id
        self._end_offset = end_offset
        self._metrics = metrics
        self._health = health
        self._page_size = page_size
        self._clock = clock
        self._started = False
        self._failures = 0
        self._check_markers_at = 0.0
        self._suspects: set[str] = set()
        self._offsets_of: str | None = None
        self._last_offsets: dict[int, int] = {}
        self._stop: Callable[[], bool] = lambda: False

    def run(self, stop: threading.Event) -> None:
        """Survives any absence of the broker, the registry and the database. Whatever else is raised is a bug."""
        self._stop = stop.is_set
        reader = self._reader()
        look = partial(self._look, reader)
        with suppress(RetryStoppedError):
            while not stop.is_set():
                retry(look, on=TRANSIENT, backoff=RETRY_BACKOFF, stop=stop, report=self._report)
                if self._failures:
                    log.info("repair of holes resumed", extra={"failures": self._failures})
                self._failures = 0
                self._health.set_ready(PART)
        reader.close()

    def _look(self, reader: HoleReader) -> None:
        self._health.heartbeat(PART)
        if not self._started:
            self._codec.prepare([reader.topic, self._topic])
            reader.start()
            self._started = True
        reader.poll(HOLE_CHECK_SECONDS)
        self.step(reader.open_holes())

    def _report(self, failure: Failure[Exception]) -> None:
        self._failures = failure.count
        if failure.count == 1:
            log.warning("repair of holes paused", extra={"error": _why(failure.error)})
        self._health.set_ready(PART, f"paused: {_why(failure.error)}")

    def step(self, reported: Sequence[ReportedHole]) -> None:
        """Repair every open hole that no relay repairs or has repaired."""
        self._metrics.open_holes.set(len(reported))
        if not reported:
            return
        known = self._table.known([each.hole.hole_id for each in reported])
        self._check_markers(reported, known)
        todo = [each.hole for each in reported if (repair := known.get(each.hole.hole_id)) is None or _is_open(repair)]
        if not todo:
            return
        topic_id = self._topic_id()
        if topic_id is None:
            raise PublishFailedError("the broker does not answer for the bulk topic's id")
        claimed = {each: repair for each in todo if (repair := self._table.claim(each, topic_id=topic_id)) is not None}
        if claimed:
            self._metrics.repairs.labels("started").inc(len(claimed))
            self._pass(claimed, topic_id)

    def _pass(self, claimed: Mapping[Hole, Repair], topic_id: str) -> None:
        """One pass over the history for all claimed holes, from the lowest of their cursors.

        Raises PublishFailedError for the holes of partitions that take no records, once the others are repaired."""
        if topic_id != self._offsets_of:
            self._offsets_of, self._last_offsets = topic_id, {}
        try:
            self._repair(claimed, topic_id)
        except TopicChangedError:
            # What was published so far may be lost, whether a page showed that or a marker.
            self._last_offsets = {}
            self._table.advance([each.hole_id for each in claimed], cursor=None, events=0)
            self._metrics.repairs.labels("restarted").inc(len(claimed))
            raise

    def _repair(self, claimed: Mapping[Hole, Repair], topic_id: str) -> None:
        holes = list(claimed)
        cursors = [each.cursor for each in claimed.values()]
        start = min((Cursor(**each) for each in cursors if each is not None), key=_order, default=Cursor())
        place = Cursor() if None in cursors else start
        log.warning("repair of holes begins", extra={"holes": [each.hole_id for each in holes], "from": asdict(place)})
        began, events = self._clock(), 0
        unknown: frozenset[str] = frozenset()
        failures: dict[int, str] = {}
        for page in pages.in_two_passes(lambda at: self._page(at, holes), place):
            failures |= self._publish([_row(each, number) for number, each in enumerate(page.messages)])
            if page.unknown_tenants - unknown:
                unknown |= page.unknown_tenants
                log.warning("repaired with the stored keys: not in the keyring", extra={"tenants": sorted(unknown)})
            events += len(page.messages)
            self._metrics.repair_events.inc(len(page.messages))
            going_on = [each.hole_id for each in holes if each.partition not in failures]
            mine = self._table.advance(going_on, cursor=asdict(page.end), events=len(page.messages))
            holes[:] = [each for each in holes if each.hole_id in mine]  # In place: the next page is read for these.
            if self._stop():
                return
            if not holes:
                break
        for hole in holes:
            failures |= self._finish(hole, topic_id)
        self._table.prune(open_ids=[each.hole_id for each in holes])
        seconds = round(self._clock() - began, 1)
        log.warning("repair of holes ended", extra={"holes": len(holes), "events": events, "seconds": seconds})
        if failures and not self._stop():
            places = ", ".join(f"{self._topic}:{each}" for each in sorted(failures))
            raise PublishFailedError(f"no answer for {places}: {min(failures.values())}")

    def _page(self, place: Cursor, holes: Sequence[Hole]) -> Page | None:
        def read(connection: Connection) -> Page | None:
            return pages.page(
                connection,
                self._keyring(),
                self._outbox,
                Selection(),
                place,
                size=self._page_size,
                now=now_micros(),
                wanted=lambda channel, partition: covers(holes, channel=channel, partition=partition),
                # One tenant that is not in the keyring, or not yet, must not keep a hole open for all. What was lost
                # was published under the keys that are stored.
                unknown_as_stored=True,
            )

        self._health.heartbeat(PART, "a page of the ledger")
        return transact(self._engine, read)

    def _finish(self, hole: Hole, topic_id: str) -> dict[int, str]:
        """Publish the marker; what `_publish` returns."""
        if self._topic_id() not in (None, topic_id):
            raise TopicChangedError("the bulk topic was created again")
        point, loss = self._table.last_resolved(hole.partition)
        marker = resolved_row(self._codec, self._topic, hole.partition, point=point, loss=loss, repaired=hole.hole_id)
        failures = self._publish([marker])
        if not failures:
            self._table.finish(hole.hole_id, marker_offset=self._last_offsets.get(hole.partition, 0))
            self._metrics.repairs.labels("finished").inc()
        return failures

    def _publish(self, rows: Sequence[Row]) -> dict[int, str]:
        """By partition, why not all was acknowledged. Raises TopicChangedError when a partition went back."""
        delivery = self._publisher.publish(rows, beat=self._beat, stop=self._stop)
        for partition, landed in delivery.offsets.items():
            last = self._last_offsets.get(partition)
            self._last_offsets[partition] = landed.highest
            if has_gone_back(lowest_new_offset=landed.lowest, last_known_offset=last):
                raise TopicChangedError(f"partition {partition} of the bulk topic went back")
        if delivery.refused:
            log.error("the broker refuses records of a repair", extra={"cause": delivery.cause})
            self._publish_denials(delivery.refused)
        return {row.partition: delivery.cause or "stopped" for row in delivery.failed}

    def _publish_denials(self, refused: Sequence[Row]) -> None:
        """One record that no broker takes must not keep a hole open: its address is denied instead."""
        with self._engine.connect() as connection:
            denials = [each for row in refused if (each := self._denial_of(connection, row)) is not None]
        delivery = self._publisher.publish(denials, beat=self._beat, stop=self._stop)
        if delivery.failed or delivery.refused:
            raise PublishFailedError(delivery.cause or "stopped")
        self._metrics.denials.labels(Lane.BULK.value, "denied").inc(len(denials))

    def _check_markers(self, reported: Sequence[ReportedHole], known: Mapping[str, Repair]) -> None:
        """Reopen repairs whose marker Kafka has lost, or that the merge has read without closing the hole."""
        if self._clock() < self._check_markers_at:
            return
        self._check_markers_at = self._clock() + MARKER_CHECK_SECONDS
        topic_id = self._topic_id()
        for each in reported:
            repair = known.get(each.hole.hole_id)
            if repair is None or repair.marker_offset is None:
                continue
            if not marker_is_lost(each, repair, topic_id=topic_id, end=self._end_offset(each.hole.partition)):
                self._suspects.discard(repair.hole_id)
            elif repair.hole_id not in self._suspects:
                self._suspects.add(repair.hole_id)  # The merge may be about to report it closed.
            else:
                self._suspects.discard(repair.hole_id)
                self._table.reopen(repair)
                self._metrics.repairs.labels("restarted").inc()

    def _beat(self) -> None:
        self._health.heartbeat(PART)


def _is_open(repair: Repair) -> bool:
    return repair.marker_offset is None


def _order(place: Cursor) -> tuple[bool, int, str]:
    return place.permissions, place.address_id, place.decision_id


def _row(message: Message, number: int) -> Row:
    headers: list[tuple[str, Any]] = [(name, value) for name, value in json.loads(message.headers)]
    return Row(
        id=number,
        topic=message.topic,
        partition=message.partition,
        key=message.key,
        value=message.value,
        headers=headers,
    )


def _why(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, UNREACHABLE) else str(error)
