"""Publishes resolved timestamps: up to which moment a lane of the ledger is complete in each partition of its topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from uuid import uuid4

from sqlalchemy import Engine

from consent_api.errors import PublishFailedError
from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.outbox_table import OutboxTable, Row
from consent_api.outbox_relay.points import PartitionProgress, Point, has_gone_back, publishable
from consent_api.outbox_relay.publisher import Delivery
from consent_api.outbox_relay.timing import RESOLVE_INTERVAL_SECONDS
from consent_api.outbox_relay.turn_loop import LaneState
from consent_api.outbox_relay.turns import TurnTable
from consent_contracts.cloudevents import headers
from consent_contracts.codec import Codec
from consent_service.clock import is_ahead

RECORD = "ConsentResolved"
_EVENT_TYPE = f"relay.consent.v1.{RECORD}"
_SOURCE = "/consent-relay/relay"


def resolved_row(
    codec: Codec, topic: str, partition: int, *, point: Point, loss: int, repaired: str | None = None
) -> Row:
    """The record, as a row that the publisher takes; its id is the partition. Raises RegistryUnavailableError."""
    datum = {
        "resolved_at": point.resolved_at,
        "inbound_resolved_at": point.inbound_resolved_at,
        "loss": loss,
        "repaired": repaired,
    }
    ce = headers(event_id=str(uuid4()), event_type=_EVENT_TYPE, source=_SOURCE, time_micros=max(point.resolved_at, 0))
    return Row(
        id=partition,
        topic=topic,
        partition=partition,
        key=str(partition).encode(),
        value=codec.encode(topic, datum, RECORD),
        headers=[*ce],
    )


class ResolvedPublisher:
    """For a thread that publishes the lane's rows. A row that is deleted was acknowledged, so it lies at a lower offset
    than what is sent afterwards.

    Watches all offsets that records of this relay get, and raises the loss number of a partition that went back."""

    def __init__(
        self,
        *,
        lane: Lane,
        topic: str,
        engine: Engine,
        outbox: OutboxTable,
        table: TurnTable,
        codec: Codec,
        state: Callable[[], LaneState],
        topic_id: Callable[[], str | None],
        publish: Callable[[list[Row]], Delivery],
        on_loss: Callable[[int], None] = lambda partition: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`state`: of the lane's turns. `on_loss` is called with the partition that went back."""
        self._lane = lane
        self._topic = topic
        self._engine = engine
        self._outbox = outbox
        self._table = table
        self._codec = codec
        self._state = state
        self._topic_id = topic_id
        self._publish = publish
        self._on_loss = on_loss
        self._clock = clock
        self._due_at = 0.0
        self._last_scope: Collection[int] = ()
        self._read = 0
        self._points: tuple[Point, ...] = ()
        self._partitions: dict[int, PartitionProgress] = {}
        self._last_offsets: dict[int, int] = {}

    @property
    def resolved_at(self) -> int | None:
        """The lowest that was published of all partitions, microseconds; None while one has none."""
        found = [each.resolved_at for each in self._partitions.values()]
        return None if not found or None in found else min(each for each in found if each is not None)

    def known_offsets(self) -> dict[int, int]:
        """By partition, the highest offset that is known to be acknowledged. To be read before records are sent."""
        self._follow_turns()
        return dict(self._last_offsets)

    def observe(self, delivery: Delivery, *, before: Mapping[int, int]) -> None:
        """Compare where records landed with what was known `before` they were sent."""
        for partition, landed in delivery.offsets.items():
            gone_back = has_gone_back(lowest_new_offset=landed.lowest, last_known_offset=before.get(partition))
            if gone_back:
                self._lost(partition, landed.highest)
            self._last_offsets[partition] = (
                landed.highest if gone_back else max(landed.highest, self._last_offsets.get(partition, -1))
            )

    def publish_due(self, scope: Collection[int]) -> None:
        """If it is time, or the last time was for others: a ConsentResolved for each of these partitions in which more
        is complete than was stated last.

        Raises PublishFailedError (what was acknowledged is noted), RegistryUnavailableError, or DBAPIError; what was
        not stated is stated the next time."""
        if self._clock() < self._due_at and scope == self._last_scope:
            return
        self._due_at, self._last_scope = self._clock() + RESOLVE_INTERVAL_SECONDS, scope
        before = self.known_offsets()
        newest = max((each.resolved_at for each in self._points), default=0)
        waiting = {p: each for p, each in self._partitions.items() if p in scope and (each.resolved_at or 0) < newest}
        if not waiting:
            return
        # No row is left below a point's id: each was acknowledged before its deletion was committed.
        lowest = self._outbox.lowest_ids(waiting)
        found = publishable(self._points, partitions=waiting, lowest_pending=lowest)
        if not found:
            return
        rows = [
            resolved_row(self._codec, self._topic, partition, point=point, loss=waiting[partition].loss)
            for partition, point in found.items()
        ]
        delivery = self._publish(rows)
        self.observe(delivery, before=before)
        progress = {}
        for row in delivery.acknowledged:
            landed = delivery.offsets.get(row.partition)
            # From here on with the loss number that `observe` may have raised: such a record stated the lower one.
            if self._partitions[row.partition].loss == waiting[row.partition].loss:
                progress[row.partition] = replace(
                    waiting[row.partition],
                    resolved_at=found[row.partition].resolved_at,
                    last_offset=landed.highest if landed else None,
                )
        if progress:
            self._table.published(self._engine, progress)
            self._partitions |= progress
        if len(delivery.acknowledged) < len(rows):
            raise PublishFailedError(delivery.cause or "stopped")

    def _follow_turns(self) -> None:
        """Take over what the last turn has read. Points that another relay has published meanwhile are published again
        at worst."""
        state = self._state()
        if state.read == self._read:
            return
        # A clock that was taken before the last look is older than what was stated since.
        clock = state.clock if state.clock_read > self._read else None
        self._read, self._points = state.read, state.points
        for partition, kept in state.partitions.items():
            mine = self._partitions.get(partition)
            if mine is not None and clock is not None and is_ahead(mine.resolved_at or 0, clock=clock):
                mine = replace(mine, resolved_at=None)
            if mine is not None and mine.loss > kept.loss:
                continue  # Raised after the turn was taken.
            self._partitions[partition] = replace(kept, resolved_at=_later(kept.resolved_at, mine))
            offsets = [each for each in (kept.last_offset, self._last_offsets.get(partition)) if each is not None]
            if mine is not None and kept.loss > mine.loss:
                # The topic began again, or went back: what this relay knew of its end no longer holds.
                self._last_offsets.pop(partition, None)
                offsets = [] if kept.last_offset is None else [kept.last_offset]
            if offsets:
                self._last_offsets[partition] = max(offsets)

    def _lost(self, partition: int, offset: int) -> None:
        known = self._partitions.get(partition) or self._table.progress(self._engine, partition)
        if known is None:
            return  # Nothing was stated of the partition that the loss could make wrong.
        topic_id = self._topic_id() or known.topic_id
        if self._table.record_loss(self._engine, partition, known, topic_id=topic_id, offset=offset):
            self._partitions[partition] = replace(known, loss=known.loss + 1, topic_id=topic_id, last_offset=offset)
            self._on_loss(partition)
        elif (counted := self._table.progress(self._engine, partition)) is not None:
            # Another relay, or a turn, was faster. There may have been more losses than this one.
            self._partitions[partition] = replace(counted, resolved_at=_later(counted.resolved_at, known))


def _later(resolved_at: int | None, mine: PartitionProgress | None) -> int | None:
    if mine is None or mine.resolved_at is None:
        return resolved_at
    return mine.resolved_at if resolved_at is None else max(resolved_at, mine.resolved_at)
