"""How old an answer is: the adoption of ListResolved records at a reader of suppression topics. Pure.

A record counts once the reader has read each of its lists up to the offset that the record names. From then on the age
of an answer is what it was at adoption plus the time elapsed on a clock that runs through sleep, so that no step of a
wall clock makes an answer younger. Times are microseconds; wall times since the epoch, UTC.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consent_kafka.position import Position
from consent_service.clock import MAX_CLOCK_LEAD_MICROS, is_ahead

_MAX_WAITING = 64
_MAX_CLOSED_HOLES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class ListEnd:
    """The offset after the last entry of one list topic's partition, in the topic with this id."""

    topic: str
    topic_id: str
    end_offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ListResolved:
    """One record of suppression.resolved.v1, and when the broker appended it."""

    partition: int
    resolved_at: int | None
    bulk_resolved_at: int | None
    inbound_resolved_at: int | None
    """None: no ingest is configured."""
    loss: int
    lists: tuple[ListEnd, ...]
    hole: str | None
    channel_holes: Mapping[str, str] = field(default_factory=dict)
    written_at: int
    append_time: int

    @classmethod
    def of(cls, datum: Mapping[str, Any], *, append_time: int) -> ListResolved:
        """From the record's datum as the codec decodes it."""
        return cls(
            partition=datum["partition"],
            resolved_at=datum["resolved_at"],
            bulk_resolved_at=datum["bulk_resolved_at"],
            inbound_resolved_at=datum["inbound_resolved_at"],
            loss=datum["loss"],
            lists=tuple(
                ListEnd(topic=each["topic"], topic_id=each["topic_id"], end_offset=each["end_offset"])
                for each in datum["lists"]
            ),
            hole=datum["hole"],
            channel_holes=dict(datum["channel_holes"]),
            written_at=datum["written_at"],
            append_time=append_time,
        )

    @property
    def latest(self) -> int:
        """The latest time that it states, of any lane."""
        return max(each or 0 for each in (self.resolved_at, self.bulk_resolved_at, self.inbound_resolved_at))

    @property
    def holes(self) -> frozenset[str]:
        """Ids of the holes that it names."""
        return frozenset({*([self.hole] if self.hole is not None else ()), *self.channel_holes.values()})


@dataclass(frozen=True, kw_only=True, slots=True)
class StalenessLimits:
    """Beyond these ages an answer permits nothing. Microseconds."""

    live: int = 30_000_000
    inbound: int = 60_000_000
    bulk: int = 15 * 60_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Recency:
    """What a reader knows of one partition for one channel until the next record. Immutable, for any thread.

    The ends of each limit are on the clock that runs through sleep.
    """

    as_of: int | None
    """Every live decision that was acknowledged before this moment is in the list. None: unknown, or a hole."""
    hole: str | None
    live_until: int
    inbound_until: int
    bulk_until: int
    clock_at_zero: int | None
    """The wall clock at the last adoption, less the elapsed clock: added to the latter it gives a clock that no step
    of the wall clock changes. None: nothing has been adopted."""

    @property
    def usable_until(self) -> int:
        """Until when answers may be given, on the elapsed clock."""
        return min(self.live_until, self.inbound_until, self.bulk_until)

    def age(self, limits: StalenessLimits, elapsed: int) -> int | None:
        """Of an answer on live decisions, where `limits` are those that this was made with. None: unknown."""
        return None if self.as_of is None else limits.live + elapsed - self.live_until

    def hindrance(self, elapsed: int) -> str | None:
        """Why no answer may be given: hole, unknown, stale, inbound_stale, bulk_stale."""
        if self.hole is not None:
            return "hole"
        if self.as_of is None:
            return "unknown"
        if elapsed > self.live_until:
            return "stale"
        if elapsed > self.inbound_until:
            return "inbound_stale"
        return "bulk_stale" if elapsed > self.bulk_until else None


_NEVER = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Adopted:
    record: ListResolved
    received: int
    """The clock that runs through sleep, at receipt."""
    clock: int
    """The reader's wall clock at adoption."""
    elapsed: int
    """The clock that runs through sleep, at adoption."""

    def as_of(self, resolved_at: int) -> int:
        """A time of the record as a moment up to which the list is complete: never later than its own append."""
        return min(resolved_at, self.record.append_time)

    def age(self, resolved_at: int, elapsed: int) -> int:
        return self._age_at_adoption(resolved_at) + max(0, elapsed - self.elapsed)

    def until(self, resolved_at: int, limit: int) -> int:
        """When `age` exceeds `limit`."""
        return self.elapsed + limit - self._age_at_adoption(resolved_at)

    def _age_at_adoption(self, resolved_at: int) -> int:
        # A reader whose clock is slow adopts a record late, when its own clock has reached the record's time.
        return max(0, self.clock - self.as_of(resolved_at), self.elapsed - self.received)

    @property
    def latest_clock(self) -> int:
        """The later of the own clock and the append time at adoption, unless one of the two clocks is wrong."""
        append_time = self.record.append_time
        return self.clock if is_ahead(append_time, clock=self.clock) else max(self.clock, append_time)


class ResolvedPartition:
    """What a reader knows of one partition's timestamps. Used by one thread, or under the caller's lock."""

    def __init__(self) -> None:
        self._adopted: _Adopted | None = None
        self._waiting: deque[tuple[ListResolved, int]] = deque()
        """With the elapsed clock at receipt."""
        self._adoptable_until = sys.maxsize
        """By the reader's clock when it last looked: later times were given by a clock that is fast."""
        self._hole: str | None = None
        self._channel_holes: Mapping[str, str] = {}
        self._holes_written_at = -1
        self._closed: deque[str] = deque(maxlen=_MAX_CLOSED_HOLES)
        self._loss = 0

    @property
    def loss(self) -> int:
        """The highest loss number read: it grows when Kafka has lost records of this partition."""
        return self._loss

    def receive(self, record: ListResolved, *, elapsed: int) -> None:
        """A record was read. A hole in it counts at once; its times once `advance` finds its offsets reached."""
        self._loss = max(self._loss, record.loss)
        self._take_holes(record)
        if record.resolved_at is None:
            return
        while self._waiting and self._waiting[-1][0].latest > max(self._adoptable_until, record.latest):
            self._waiting.pop()  # The ledger's clock was fast and has been set back.
        newest = self._waiting[-1][0] if self._waiting else self._adopted.record if self._adopted else None
        if newest is not None and self._adoptable_until >= (newest.resolved_at or 0) >= record.resolved_at:
            return
        if len(self._waiting) == _MAX_WAITING:
            # A reader that lags adopts the oldest first; without the newest but one it only does so less often.
            self._waiting.pop()
        self._waiting.append((record, elapsed))

    def advance(self, positions: Mapping[str, Position], *, clock: int, elapsed: int) -> bool:
        """Adopt the newest record whose lists have been read to their ends; True when there is one.

        `positions`: by topic, of the list topics that this reader reads; others are not compared.
        """
        self._adoptable_until = clock + MAX_CLOCK_LEAD_MICROS
        reached = [each for each in self._waiting if self._is_reached(each[0], positions)]
        if not reached:
            return False
        while self._waiting.popleft() is not reached[-1]:
            pass
        record, received = reached[-1]
        self._adopted = _Adopted(record=record, received=received, clock=clock, elapsed=elapsed)
        return True

    def as_of(self, channel: str) -> int | None:
        """Every live decision that was acknowledged before this moment is in the list. None: unknown."""
        if self._adopted is None or self.hole(channel) is not None:
            return None
        resolved_at = self._adopted.record.resolved_at
        return None if resolved_at is None else self._adopted.as_of(resolved_at)

    def hole(self, channel: str) -> str | None:
        """Id of a hole that concerns the channel: records of this partition are missing."""
        return self._hole if self._hole is not None else self._channel_holes.get(channel)

    def age(self, elapsed: int) -> int | None:
        """Of an answer on live decisions. None: nothing has been adopted."""
        if self._adopted is None or self._adopted.record.resolved_at is None:
            return None
        return self._adopted.age(self._adopted.record.resolved_at, elapsed)

    def hindrance(self, channel: str, limits: StalenessLimits, *, elapsed: int) -> str | None:
        """Why this partition permits nothing for the channel: hole, unknown, stale, inbound_stale, bulk_stale."""
        return self.recency(channel, limits).hindrance(elapsed)

    def recency(self, channel: str, limits: StalenessLimits) -> Recency:
        """What is known now, for those who ask without a lock."""
        hole, adopted = self.hole(channel), self._adopted
        if adopted is None or adopted.record.resolved_at is None:
            return Recency(
                as_of=None, hole=hole, live_until=_NEVER, inbound_until=_NEVER, bulk_until=_NEVER, clock_at_zero=None
            )
        record, live = adopted.record, adopted.record.resolved_at
        inbound, bulk = record.inbound_resolved_at, record.bulk_resolved_at
        holed = hole is not None
        return Recency(
            as_of=None if holed else adopted.as_of(live),
            hole=hole,
            live_until=_NEVER if holed else adopted.until(live, limits.live),
            inbound_until=sys.maxsize if inbound is None else adopted.until(inbound, limits.inbound),
            bulk_until=_NEVER if bulk is None else adopted.until(bulk, limits.bulk),
            clock_at_zero=adopted.latest_clock - adopted.elapsed,
        )

    def restart(self) -> None:
        """The lists are read from their beginning: what was adopted holds no more, what was lost remains."""
        self._adopted = None

    def _take_holes(self, record: ListResolved) -> None:
        if record.written_at >= self._holes_written_at or self._holes_written_at > self._adoptable_until:
            self._closed.extend(self._open_holes() - record.holes)
            self._hole, self._channel_holes = record.hole, record.channel_holes
            self._holes_written_at = record.written_at
        elif record.holes - set(self._closed):
            # A late record changes nothing, unless it names a hole that no record has closed.
            self._hole = self._hole or record.hole
            self._channel_holes = {**record.channel_holes, **self._channel_holes}

    def _is_reached(self, record: ListResolved, positions: Mapping[str, Position]) -> bool:
        if record.latest > self._adoptable_until:
            return False
        ends = {each.topic: each for each in record.lists}
        for topic, position in positions.items():
            end = ends.get(topic)
            if end is None or end.topic_id != position.topic_id or position.offset < end.end_offset:
                return False
        return True

    def _open_holes(self) -> frozenset[str]:
        return frozenset({*([self._hole] if self._hole is not None else ()), *self._channel_holes.values()})
